"""A clock for streams: copies and products take their time on queues worked through in order; nothing is computed.

The meta device stands for the card, the CPU for the host. The clock tells how much of the copying is
hidden behind computing, and who reads a weight before it has come or writes over one that is still
read. All copies go over one bus, in the order in which they are asked for. The host takes no time, but
waits for copies from memory that is not pinned, as CUDA has it do.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import comfy.cli_args
import comfy.model_management as mm
import comfy.ops
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from pack.trainer.frozen.forward import frozen_forward

CARD = torch.device("meta")
COPIED, MULTIPLIED = 12e9, 40e12
"""Bytes and floating point operations in a second: PCIe 3, a mid-range card in 16 bits."""
WIDTH, BLOCKS, LAYERS = 64, 9, 2
"""Of the model: a chain of square linear layers."""
COPY = 2 * (WIDTH * WIDTH + WIDTH) / COPIED
"""Seconds of a layer's copy: weight and bias in 16 bits."""
COMING_TWICE = 2 * BLOCKS * LAYERS * COPY
"""Seconds of all copies of a step: for forward and for backward."""
ROUNDING = 1e-12


class Queue:
    """A stream. free_at: when all that was asked of it is done."""

    def __init__(self, clock: "Clock") -> None:
        self._clock, self.free_at = clock, 0.0

    def wait_stream(self, other: "Queue") -> None:
        self.free_at = max(self.free_at, other.free_at)

    def synchronize(self) -> None:
        self._clock.host = max(self._clock.host, self.free_at)

    def do(self, seconds: float, earliest: float = 0.0) -> float:
        """Work so long; when that begins."""
        begin = max(self.free_at, self._clock.host, earliest)
        self.free_at = begin + seconds
        return begin

    def as_context(self, queue: "Queue") -> AbstractContextManager[None]:
        """As ComfyUI has streams: `stream.as_context(stream)`."""
        return self._clock.asking(queue)


@dataclass
class _Memory:
    """What is known of a piece of the card's memory."""

    ref: StorageWeakRef
    of: Queue
    """Asked for there: it serves that queue again when it is free."""
    written: float = 0.0
    read: float = 0.0
    """Until when."""


class Clock(TorchDispatchMode):
    """While it is entered, copies to the card and matrix products take time where they are asked for."""

    def __init__(self, *, offloads: int = 2, pinned: bool = True, current: int = 0) -> None:
        """offloads: ComfyUI's streams; current: the card that is current, of two; the model's is 0."""
        super().__init__()
        self.host, self.bus, self._pinned, self.current = 0.0, 0.0, pinned, current
        self.copying, self.multiplying = 0.0, 0.0
        self.computing = [Queue(self), Queue(self)]
        self.offloads = [Queue(self) for _ in range(offloads)]
        self.races: list[str] = []
        self._asked: Queue | None = None
        self._memory: dict[int, _Memory] = {}

    @contextmanager
    def asking(self, queue: Queue) -> Iterator[None]:
        """What is asked for goes to this queue."""
        before, self._asked = self._asked, queue
        try:
            yield
        finally:
            self._asked = before

    def rule(self, monkeypatch) -> None:
        """Have ComfyUI's streams be these queues."""
        monkeypatch.setattr(mm, "NUM_STREAMS", len(self.offloads))
        monkeypatch.setattr(mm, "STREAMS", {CARD: self.offloads})
        monkeypatch.setattr(mm, "STREAM_CAST_BUFFERS", {})
        monkeypatch.setattr(mm, "LARGEST_CASTED_WEIGHT", (None, 0))
        monkeypatch.setattr(mm, "stream_counters", {})
        monkeypatch.setattr(mm, "current_stream", lambda device: self.computing[self.current])

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("copy_", "_to_copy"):
            target, source = args[:2] if name == "copy_" else (out, args[0])
            if source.device.type == "cpu" and target.device == CARD:
                self._copy(target, source)
        elif name in ("mm", "addmm"):
            self._multiply(*args[-2:])
        return out

    def _copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        queue, seconds = self._asked or self.computing[0], source.nbytes / COPIED
        begin = queue.do(seconds, self.bus)
        self.bus, self.copying = queue.free_at, self.copying + seconds
        if not self._pinned:
            self.host = queue.free_at
        storage = target.untyped_storage()
        known = self._memory.get(storage._cdata)
        if known is None:
            known = self._memory[storage._cdata] = _Memory(StorageWeakRef(storage), queue)
            self._reuse(queue, begin)
        elif begin < known.read - ROUNDING:
            self.races.append("a weight was written over that was still read")
        known.written = queue.free_at

    def _reuse(self, queue: Queue, begin: float) -> None:
        """Memory that was asked for there and is free again may be what is written now."""
        for key, known in list(self._memory.items()):
            if known.of is queue and known.ref.expired():
                if begin < known.read - ROUNDING:
                    self.races.append("memory was given back that was still read")
                del self._memory[key]

    def _multiply(self, a: torch.Tensor, b: torch.Tensor) -> None:
        queue, seconds = self.computing[0], 2 * a.shape[0] * a.shape[1] * b.shape[1] / MULTIPLIED
        begin = queue.do(seconds)
        self.multiplying += seconds
        for tensor in (a, b):
            known = self._memory.get(tensor.untyped_storage()._cdata)
            if known is not None:
                known.read = max(known.read, queue.free_at)
                if begin < known.written - ROUNDING:
                    self.races.append("a weight was read before it had come")


class Copies:
    """As trainer.device.copy_stream.OnStream, on the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._queue = clock, Queue(clock)

    def now(self) -> Queue:
        return self._moment(self._clock.computing[0])

    def copy(self, pairs, after: Queue) -> Queue:
        self._queue.wait_stream(after)
        with self._clock.asking(self._queue):
            for target, source in pairs:
                target.copy_(source)
        return self._moment(self._queue)

    def wait(self, moment: Queue) -> None:
        self._clock.computing[0].wait_stream(moment)

    def finish(self) -> None:
        self._queue.synchronize()

    def _moment(self, queue: Queue) -> Queue:
        moment = Queue(self._clock)
        moment.wait_stream(queue)
        return moment


class Step(NamedTuple):
    """Seconds of a step, of the copies in it and of the products in it."""

    took: float
    copying: float
    multiplying: float

    @property
    def hidden(self) -> float:
        """How much of the shorter of the two is behind the other: 1 all, 0 nothing.

        Every weight is reckoned to come twice; more than 1 where some need not.
        """
        longer, shorter = sorted((COMING_TWICE, self.multiplying), reverse=True)
        return 1 - (self.took - longer) / shorter


def make_blocks() -> list[list[torch.nn.Module]]:
    """The layers of a model as ComfyUI makes them, by block."""
    options = {"dtype": torch.float16, "bias": True}
    with torch.inference_mode():
        blocks = [
            [comfy.ops.manual_cast.Linear(WIDTH, WIDTH, **options) for _ in range(LAYERS)]
            for _ in range(BLOCKS)
        ]
    for block in blocks:
        for layer in block:
            layer.requires_grad_(False)
    return blocks


def rows(ratio: float) -> int:
    """Of the input, so that a layer's product takes so many times as long as its copy."""
    return round(ratio * COPY * MULTIPLIED / (2 * WIDTH * WIDTH))


def step(clock: Clock, weights, blocks, ratio: float) -> Step:
    """The third forward and backward through the layers, when every one is like the one before."""
    layers = [layer for block in blocks for layer in block]
    forwards = [frozen_forward(layer, weights) for layer in layers]
    marks = []
    with torch.inference_mode(False), torch.enable_grad(), weights.hold(layers), clock:
        for _ in range(4):
            marks.append((clock.computing[0].free_at, clock.copying, clock.multiplying))
            y = torch.empty(
                rows(ratio), WIDTH, dtype=torch.float16, device=CARD, requires_grad=True
            )
            for forward in forwards:
                y = forward(y)
            y.sum().backward()
    return Step(*(after - before for before, after in zip(*marks[2:], strict=True)))
