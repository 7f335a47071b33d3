"""The memory plan against the peak of two whole steps of our loop, SDXL's widths on the meta device.

A plan may neither lie below the peak nor more than 1 GiB above it. Planted: an activation that is kept
for nothing (every norm's output in compact layers) and a table that was lowered; both must be refused.
"""

import itertools
import re

import pytest

from pack.bench.counted.full_size import FullSize
from pack.bench.plan import CASES, Case, cards, compared
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.layers import compact_nodes
from pack.trainer.layers.recompute import Again, ladder
from pack.trainer.memory import activations
from pack.trainer.memory.activations import Kept, Shape, activation_bytes
from pack.trainer.memory.plan import GIB, plan_memory

pytestmark = pytest.mark.main_host
SIDE = 1024
CONFIG = TrainConfig(batch_size=4, compact=True)


def refusal(planned, peak):
    """What is wrong with a plan, if anything."""
    if planned < peak:
        return "below the peak"
    return "more than 1 GiB above the peak" if planned - peak > GIB else ""


@pytest.fixture(scope="module")
def narrow():
    """SDXL with one transformer block at a place: as wide, and four times as fast to go through."""
    return FullSize(1)


def plan(sdxl):
    return plan_memory(CONFIG, sdxl.need(CONFIG, SIDE), None)


@pytest.fixture(scope="module")
def peak(narrow):
    return narrow.steps(plan(narrow), CONFIG, SIDE)


def test_two_steps_need_what_is_planned(narrow, peak):
    assert refusal(plan(narrow).reserve, peak) == ""


def test_a_lowered_table_is_refused(narrow, peak, monkeypatch):
    """Planted: large blocks are said to keep a quarter less, or half as much again."""
    kind, tables = ("large", Again.NOTHING), dict(activations.MORE)
    for factor, words in ((0.75, "below"), (1.75, "above")):
        kept = Kept(activations.MORE[True][kind].sample * factor)
        with monkeypatch.context() as planted:
            planted.setattr(activations, "MORE", {True: {**tables[True], kind: kept}})
            assert words in refusal(plan(narrow).reserve, peak)


def test_an_activation_kept_for_nothing_is_refused(narrow, monkeypatch):
    """Planted: what the norms before linear layers give is kept, though backward makes it again.

    In one micro batch, to be fast: its plan is that of a run without what is learned.
    """
    own = compact_nodes._normalise

    def keeping(x, norm, weights):
        found = own(x, norm, weights)
        kept.append(found[0])
        return found

    kept = []
    monkeypatch.setattr(compact_nodes, "_normalise", keeping)
    need, levels = narrow.need(CONFIG, SIDE), plan(narrow).levels
    found = narrow.micro_batch(levels, CONFIG, SIDE, compact=True, batch=4, backward=True)
    assert refusal(plan(narrow).reserve - need.learned, found.peak) == "below the peak"


MICRO_BATCHES = [
    (False, 0, "math", Shape(1, 1536**2, 2, 32)),
    (True, 13, "flash", Shape(2, 512**2, 2, 32)),
]
MORE_MICRO_BATCHES = [
    (False, 0, "flash", Shape(1, 1024**2, 2, 128)),
    (False, 5, "efficient", Shape(2, 1024**2, 2, 32, 8)),
    (False, -1, "flash", Shape(1, 1536**2, 2, 32)),
    (True, -1, "efficient", Shape(2, 1024**2, 2, 8, 16)),
    (True, 7, "math", Shape(2, 768**2, 2, 32, 0, 3)),
    (True, -1, "math", Shape(1, 1024**2, 2, 32)),
]


@pytest.mark.parametrize(
    ("is_compact", "place", "attention", "shape"),
    [
        *MICRO_BATCHES,
        *(pytest.param(*more, marks=pytest.mark.large) for more in MORE_MICRO_BATCHES),
    ],
)
def test_a_micro_batch_needs_what_is_calculated(narrow, is_compact, place, attention, shape):
    """Other places on the ladder, sizes, ranks and texts than the tables were counted with."""
    levels = list(ladder(narrow.blocks, compact=is_compact))[place]
    config = TrainConfig(lora=LoraConfig(rank=shape.rank, conv_rank=shape.conv_rank))
    side = int(shape.pixels**0.5)
    found = narrow.micro_batch(
        levels, config, side, attention, compact=is_compact,
        batch=shape.samples, chunks=shape.chunks, backward=True,
    )  # fmt: skip
    fused = attention != "math"
    planned = activation_bytes(levels, shape, compact=is_compact, fused=fused)
    assert 0.97 * found.peak <= planned <= 1.2 * found.peak


@pytest.fixture(scope="module")
def sdxl():
    return FullSize()


def test_the_readme_says_what_cards_get(sdxl, root):
    """`python bench/plan.py --cards` prints these lines."""
    text = (root / "README.md").read_text("utf-8")
    said = re.findall(r"^\| \d+ GB \|.*\|$", text, re.MULTILINE)
    assert said == list(cards(sdxl))


def test_a_smaller_card_never_gets_the_larger_plan(sdxl):
    reserves = [Case(card).plan(sdxl).reserve for card in (24, 16, 12, 8)]
    for larger, smaller in itertools.pairwise(reserves):
        assert smaller < larger


@pytest.mark.large
@pytest.mark.parametrize("case", CASES, ids=str)
def test_full_size_needs_what_is_planned(sdxl, case):
    """Every card, with one and several samples, 1024 and 1536 pixels, convolutions, math attention."""
    ((_, planned, peak),) = compared(sdxl, [case])
    assert refusal(planned.reserve, peak) == ""
