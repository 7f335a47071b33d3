import dataclasses
import itertools

import pytest

from pack.tests.trainer.layers.test_recompute import SDXL
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.layers.recompute import Again, ladder
from pack.trainer.memory import plan as memory
from pack.trainer.memory.plan import (
    GIB,
    MIB,
    NOTICEABLE,
    Kept,
    MemoryPlan,
    Need,
    plan_memory,
    plans,
    reserve_bytes,
    smaller_plan,
)

LEARNED = 46_000_000 * 16
NEED = Need(LEARNED, 1024 * 1024, 2, SDXL, rank=32)
CONFIG = TrainConfig(batch_size=4)
COMPACT = dataclasses.replace(CONFIG, compact=True)
NOTHING = dict.fromkeys(SDXL, Again.NOTHING)
ALL = dict.fromkeys(SDXL, Again.ALL)
TABLES = {
    "EVERYTHING_AGAIN": Kept(100, 1),
    "CONVOLUTIONS": Kept(10, 2),
    "RESNET_CONVOLUTIONS": Kept(3, 0.5),
}


def bytes_of(levels, micro_batch=1, config=CONFIG, **parts):
    need, compact = dataclasses.replace(NEED, **parts), config.is_compact
    return reserve_bytes(config, need, levels, micro_batch, compact=compact)


@pytest.fixture
def round_numbers(monkeypatch):
    """Tables that can be added up in the head: 100 MiB + 1 each rank; 7 MiB more for each block."""
    for name, kept in TABLES.items():
        monkeypatch.setattr(memory, name, {False: kept, True: kept})
    more = {(block.size, level): Kept(7, 0) for block in SDXL for level in Again if level < 4}
    monkeypatch.setattr(memory, "MORE", {False: more, True: more})
    monkeypatch.setattr(memory, "TRANSIENT_PER_SAMPLE", 50 * MIB)


def test_the_need_is_what_learns_and_activations(round_numbers):
    sample = 100 + 32 + 50
    assert bytes_of(ALL) == LEARNED + sample * MIB
    assert bytes_of(ALL, 3) == LEARNED + 3 * sample * MIB
    assert bytes_of(ALL, rank=64) == LEARNED + (sample + 32) * MIB
    assert bytes_of(ALL, itemsize=4) == LEARNED + 2 * sample * MIB
    assert bytes_of(ALL, pixels=512 * 512) == LEARNED + sample * MIB // 4
    assert bytes_of(NOTHING) == LEARNED + (sample + 7 * 87) * MIB
    assert bytes_of({**ALL, SDXL[0]: Again.PROJECTIONS}) == LEARNED + (sample + 7) * MIB
    assert bytes_of(ALL, conv_rank=4) == LEARNED + (sample + 10 + 8) * MIB
    resnets = 17 * (7 + 3 + 0.5 * 4)
    one = {b: Again.NOTHING if b.size == "resnet" else Again.ALL for b in SDXL}
    assert bytes_of(one, conv_rank=4) == LEARNED + (sample + 10 + 8 + resnets) * MIB
    assert bytes_of(ALL, 2, chunks=3) == LEARNED + 2 * sample * MIB + int(6 * 0.3 * GIB)


def test_recordings_keep_activations_of_their_own(round_numbers):
    recorded = dataclasses.replace(CONFIG, speed=SpeedConfig(cuda_graphs=True))
    assert bytes_of(ALL, 3, recorded) == LEARNED + 2 * 3 * (100 + 32 + 50) * MIB


@pytest.mark.parametrize("compact", [False, True])
def test_computing_more_again_never_needs_more(compact):
    config = dataclasses.replace(CONFIG, compact=compact)
    needs = [bytes_of(levels, 1, config) for levels in ladder(SDXL, compact=compact)]
    assert needs == sorted(needs, reverse=True) and len(set(needs)) == len(needs)


def test_compact_layers_count_where_the_lora_is_plain():
    def need(**lora):
        return bytes_of(NOTHING, 1, dataclasses.replace(COMPACT, lora=LoraConfig(**lora)))

    assert need() < bytes_of(NOTHING) - 2 * GIB
    for lora in ({"dropout": 0.1}, {"dora": True}, {"algorithm": "loha"}):
        assert need(**lora) >= bytes_of(NOTHING)


@pytest.mark.parametrize(
    ("kind", "tensors"),
    [({}, 0), ({"algorithm": "lokr"}, 0), ({"algorithm": "loha"}, 5), ({"dora": True}, 2)],
)
def test_changes_that_are_put_together_need_room(kind, tensors):
    config = dataclasses.replace(CONFIG, lora=LoraConfig(**kind))
    assert bytes_of(ALL, 1, config) == bytes_of(ALL) + tensors * 1280 * 2560 * 9 * 4


def test_without_a_limit_nothing_is_given_up():
    assert plan_memory(CONFIG, NEED, None) == MemoryPlan(
        False, NOTHING, 4, bytes_of(NOTHING, 4), True
    )


@pytest.mark.parametrize("config", [CONFIG, COMPACT])
def test_the_fastest_plan_that_fits_is_taken(config):
    """Halves of the batch first, then one block more after the other."""
    steps = list(ladder(SDXL, compact=config.compact))
    order = [(NOTHING, 4), (NOTHING, 2), *((levels, 1) for levels in steps)]
    for (levels, micro_batch), following in zip(order, [*order[1:], None], strict=True):
        wanted = bytes_of(levels, micro_batch, config)
        plan = MemoryPlan(config.compact, levels, micro_batch, wanted, True)
        assert plan_memory(config, NEED, wanted) == plan
        found = plan_memory(config, NEED, wanted - 1)
        if following:
            assert (found.levels, found.micro_batch, found.fits) == (*following, True)
        else:
            assert found == MemoryPlan(config.compact, ALL, 1, wanted, False)


@pytest.mark.parametrize(("choice", "levels"), [("off", NOTHING), ("full", ALL)])
def test_a_choice_is_obeyed(choice, levels):
    config = dataclasses.replace(COMPACT, checkpointing=choice)
    for available in (None, bytes_of(NOTHING, 1, COMPACT), 0):
        assert plan_memory(config, NEED, available).levels == levels
    assert plan_memory(config, NEED, None).micro_batch == 4
    assert plan_memory(config, NEED, 0).micro_batch == 1


def test_a_model_without_blocks_has_one_plan():
    need = dataclasses.replace(NEED, blocks=())
    assert [plan_memory(CONFIG, need, a).levels for a in (None, 0)] == [{}, {}]


def test_the_recipe_fits_a_card_of_12_gib_beside_the_weights():
    for config in (TrainConfig(), TrainConfig(compact=True)):
        assert plan_memory(config, NEED, int((12 - 4.8) * GIB)).fits


def test_compact_layers_fit_there_with_nothing_again():
    plan = plan_memory(TrainConfig(compact=True), NEED, int((12 - 4.8) * GIB))
    assert plan.levels == NOTHING and plan.micro_batch == 1


@pytest.mark.parametrize("config", [CONFIG, COMPACT])
def test_where_memory_runs_out_each_next_plan_is_noticeably_smaller(config):
    """From the fastest down to the smallest, by the fewest steps that make a difference."""
    every = list(plans(config, NEED, None))
    plan, walked = every[0], []
    while plan is not None:
        walked.append(plan)
        plan = smaller_plan(config, NEED, plan)
    assert walked[-1] == every[-1] and len(walked) < len(every)
    for before, after in itertools.pairwise(walked[:-1]):
        assert after.reserve <= before.reserve - NOTICEABLE
        between = every[every.index(before) + 1 : every.index(after)]
        assert all(one.reserve > before.reserve - NOTICEABLE for one in between)


def test_a_choice_is_obeyed_where_memory_runs_out():
    """Without recomputation only the batch can be split."""
    off = dataclasses.replace(CONFIG, checkpointing="off")
    plan, sizes = plan_memory(off, NEED, None), []
    while plan is not None:
        sizes.append(plan.micro_batch)
        plan = smaller_plan(off, NEED, plan)
    assert sizes == [4, 2, 1]


def test_a_plan_says_what_it_does():
    text = MemoryPlan(False, ALL, 2, 3 * GIB, True).describe()
    assert "all blocks recomputed" in text and "2 sample(s)" in text and "3.0 GiB" in text
    assert "no block recomputed" in MemoryPlan(False, NOTHING, 1, 0, True).describe()
