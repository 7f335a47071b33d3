"""How much of the copying of weights a step hides behind its computing, and that no weight is read too early.

On the clock of tests/host/model/stream_clock.py, through ComfyUI's own `cast_bias_weight` and streams. The plants
show what the clock refuses: ways of fetching that hide nothing, rings that stall, orders that are missing.
"""

import itertools
from contextlib import ExitStack, contextmanager, nullcontext

import comfy.cli_args
import comfy.model_management
import comfy.ops
import pytest
import torch

from pack.nodes.host.model.autograd_session import current_device
from pack.nodes.host.model.weights import ComfyWeights
from pack.tests.host.model import stream_clock
from pack.tests.host.model.stream_clock import CARD, Clock, Copies, make_blocks, step
from pack.trainer.frozen import streaming
from pack.trainer.frozen.streaming import Streamed

pytestmark = pytest.mark.skipif(
    not hasattr(comfy.model_management, "STREAM_CAST_BUFFERS"),
    reason="this ComfyUI keeps no buffers for its streams, which the clock stands in for",
)

COPY_BOUND, COMPUTE_BOUND = 0.5, 2.0
"""How long a layer's product takes, in times of its copy."""


@pytest.fixture(scope="module")
def blocks():
    return make_blocks()


@pytest.fixture
def clock(monkeypatch):
    """A function that makes a clock and has ComfyUI go by it."""

    def make(**options):
        made = Clock(**options)
        made.rule(monkeypatch)
        return made

    return make


def ring(clock, blocks, copies=Copies):
    return Streamed(ComfyWeights(), blocks, CARD, copies=lambda _: copies(clock))


class FetchedAhead(ComfyWeights):
    """A prefetch in the stream's own order: the next layer is asked for before this one's product is."""

    def __init__(self, layers):
        super().__init__()
        there_and_back = [*layers, *layers[::-1]]
        self._following = itertools.cycle([*there_and_back[1:], layers[0]])
        self._ahead = None

    @contextmanager
    def hold(self, modules):
        with super().hold(modules) as count:
            yield count
            self._ahead.close()

    @contextmanager
    def borrow(self, module, dtype, device):
        fetched = self._ahead or self._fetched(module, dtype, device)
        self._ahead = self._fetched(next(self._following), dtype, device)
        with fetched:
            yield fetched.pair

    def _fetched(self, module, dtype, device):
        stack = ExitStack()
        stack.pair = stack.enter_context(super().borrow(module, dtype, device))
        return stack


class AfterAllComputing(Copies):
    """Copies that wait for the end of all that computes, not of what read the buffer."""

    def copy(self, pairs, after):
        return super().copy(pairs, self.now())


class AmongComputing(Copies):
    """Copies on the stream that computes."""

    def __init__(self, clock):
        super().__init__(clock)
        self._queue = clock.computing[0]


def hides_all(now, weights, blocks, ratio):
    found = step(now, weights, blocks, ratio)
    assert found.copying <= stream_clock.COMING_TWICE * 1.001
    return found.hidden > 0.99 and now.races == []


@pytest.mark.parametrize("ratio", [COPY_BOUND, COMPUTE_BOUND])
@pytest.mark.parametrize(
    ("cuda_malloc", "pinned"), [(True, True), (True, False), (False, True)], ids=str
)
def test_comfyui_hides_its_copies(monkeypatch, clock, blocks, cuda_malloc, pinned, ratio):
    """With and without its cast buffers, so that nothing need be fetched ahead for it."""
    monkeypatch.setattr(comfy.cli_args.args, "cuda_malloc", cuda_malloc)
    assert hides_all(clock(pinned=pinned), ComfyWeights(), blocks, ratio)


@pytest.mark.parametrize("offloads", [0, 1])
def test_what_comfyui_hides_takes_two_streams(clock, blocks, offloads):
    """With `--disable-async-offload` or `--async-offload 1` weights in RAM cost all their time."""
    assert step(clock(offloads=offloads), ComfyWeights(), blocks, COPY_BOUND).hidden < 0.01


@pytest.mark.parametrize("ratio", [COPY_BOUND, COMPUTE_BOUND])
@pytest.mark.parametrize("pinned", [True, False])
def test_the_ring_hides_its_copies(clock, blocks, pinned, ratio):
    now = clock(pinned=pinned)
    assert hides_all(now, ring(now, blocks), blocks, ratio)


def test_a_ring_keeps_what_it_holds_when_the_step_turns(clock, blocks):
    now = clock()
    found = step(now, ring(now, blocks), blocks, COPY_BOUND)
    kept = 1 - streaming.SLOTS / len(blocks)
    assert found.copying == pytest.approx(stream_clock.COMING_TWICE * kept)


@pytest.mark.parametrize("ratio", [COPY_BOUND, COMPUTE_BOUND])
def test_a_fetch_in_the_streams_own_order_hides_nothing(clock, blocks, ratio):
    """Planted: `prefetch_weights` as it was. Copy and product exclude each other; without it all is hidden."""
    now, layers = clock(), [layer for block in blocks for layer in block]
    assert step(now, FetchedAhead(layers), blocks, ratio).hidden < 0.01


@pytest.mark.parametrize("plant", ["one slot", AfterAllComputing, AmongComputing])
@pytest.mark.parametrize("ratio", [COPY_BOUND, COMPUTE_BOUND])
def test_a_ring_that_stalls_is_seen(monkeypatch, clock, blocks, plant, ratio):
    """Planted: a single buffer, copies that wait for all that computes, copies in the stream that computes."""
    now, copies = clock(), Copies
    if plant == "one slot":
        monkeypatch.setattr(streaming, "SLOTS", 1)
    else:
        copies = plant
    assert step(now, ring(now, blocks, copies), blocks, ratio).hidden < 0.9


def test_orders_that_are_missing_are_seen(monkeypatch, clock, blocks):
    """Planted: a ring that does not wait for its copies or not for its readers, weights that are never given back."""

    class NotWaitedFor(Copies):
        def wait(self, moment):
            pass

    class AtOnce(Copies):
        def copy(self, pairs, after):
            return super().copy(pairs, self._moment(self._queue))

    for copies, race in ((NotWaitedFor, "read before"), (AtOnce, "written over")):
        now = clock()
        step(now, ring(now, blocks, copies), blocks, COMPUTE_BOUND)
        assert any(race in found for found in now.races)
    monkeypatch.setattr(comfy.ops, "uncast_bias_weight", lambda *_: None)
    monkeypatch.setattr(stream_clock.mm, "get_offload_stream", lambda device: now.offloads[0])
    now = clock()
    step(now, ComfyWeights(), blocks, COMPUTE_BOUND)
    assert any("still read" in found for found in now.races)


@pytest.mark.parametrize("entered", [True, False])
def test_a_model_on_a_card_that_is_not_the_current_one(monkeypatch, clock, blocks, entered):
    """ComfyUI orders its copies with the current card's stream. Planted: the model's card is not made that."""
    now, card = clock(current=1), torch.device("cuda", 0)

    @contextmanager
    def device(made_current):
        before, now.current = now.current, made_current.index
        yield
        now.current = before

    monkeypatch.setattr(torch.cuda, "device", device)
    with current_device(card) if entered else nullcontext():
        found = step(now, ComfyWeights(), blocks, COPY_BOUND)
    assert now.current == 1
    if entered:
        assert now.races == [] and found.hidden > 0.99
    else:
        assert {"a weight was read before it had come"} <= set(now.races)
