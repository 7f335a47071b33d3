"""Frozen weights that stay in RAM and come to the device block by block, to be read and dropped.

A block is what computes together: a transformer block or a resnet. Its copies are asked for with its
first product, which the device is not yet ready for: it still computes the block before. So copies are
hidden, in forward and in backward, without anybody knowing what comes next (measured on simulated
queues, tests/host/model/test_stream_clock.py). A ring of a few buffers is all that the device holds.
Nothing is ever copied back. The sizes are in the ring: SDXL's largest block has 98 MiB in 16 bits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..device.copy_stream import Copies, copies_to
from .weights import Storage, Stored, WeightPair

BLOCKS = {"BasicTransformerBlock", "ResBlock"}
SLOTS = 3
"""Buffers of the ring: the block that computes, the next, and one more that need not come again at the turn."""
ALIGNMENT = 256
"""Where tensors begin in a buffer, in bytes: as the device's own allocator aligns them."""

Pin = Callable[[Tensor], Tensor]
"""Gives the tensor, or a copy of it, in memory that the device reads by itself where that is available."""


def stream_units(unet: nn.Module) -> list[list[nn.Module]]:
    """The layers that have weights, in the blocks that they come in.

    What lies outside of transformer blocks and resnets comes with the block before it.
    """
    units: list[list[nn.Module]] = [[]]
    for module in unet.modules():
        if type(module).__name__ in BLOCKS:
            units.append([])
        if next(module.parameters(recurse=False), None) is not None:
            units[-1].append(module)
    return [unit for unit in units if unit]


@dataclass
class _Slot:
    """A buffer of the ring."""

    buffer: Tensor
    read: Any
    """The moment at which all that was asked to read it has done so (see Copies)."""
    unit: int | None = None
    ready: Any = None
    """The moment at which its copies are done; None once what computes waits for it."""
    used: int = 0
    readers: int = 0
    here: dict[nn.Module, Sequence[Tensor]] = field(default_factory=dict)
    """What it holds now."""
    views: dict[int, list[Sequence[Tensor]]] = field(default_factory=dict)
    """Where the tensors of each block that has been in it go."""


class Streamed:
    """Weights of which blocks of layers are streamed to ``device`` while they are held.

    Layers whose weights only the owner can put together (``inner.stored`` is None) are borrowed from
    it as before, and so is everything while nothing is held.
    """

    def __init__(
        self,
        inner: Storage,
        units: Sequence[Sequence[nn.Module]],
        device: torch.device,
        *,
        pinning: Callable[[], AbstractContextManager[Pin]] = lambda: nullcontext(lambda t: t),
        copies: Callable[[torch.device], Copies] = copies_to,
    ) -> None:
        self._inner, self._units, self._device = inner, units, device
        self._pinning, self._make_copies = pinning, copies
        self._unit_of = {module: n for n, unit in enumerate(units) for module in unit}
        self._forget()

    def _forget(self) -> None:
        self._stored: dict[nn.Module, Stored] = {}
        self._sources: dict[nn.Module, list[Tensor]] = {}
        self._slots: list[_Slot] = []
        self._clock = itertools.count(1)

    @contextmanager
    def hold(self, modules: Iterable[nn.Module]) -> Iterator[int]:
        others = [module for module in modules if module not in self._unit_of]
        with ExitStack() as stack:
            count = stack.enter_context(self._inner.hold(others))
            pin = stack.enter_context(self._pinning())
            self._copies = self._make_copies(self._device)
            stack.callback(self._forget)
            stack.callback(self._copies.finish)
            self._make_ring(pin)
            yield count

    @contextmanager
    def borrow(
        self, module: nn.Module, dtype: torch.dtype, device: torch.device
    ) -> Iterator[WeightPair]:
        slot = self._visit(module, device)
        if slot is None:
            with self._inner.borrow(module, dtype, device) as pair:
                yield pair
            return
        slot.readers += 1
        try:
            yield self._stored[module].restore(slot.here[module], dtype)
        finally:
            slot.readers -= 1
            slot.read = self._copies.now()

    def _make_ring(self, pin: Pin) -> None:
        """Find out what can be streamed, and make buffers for the largest block of it."""
        for module in self._unit_of:
            stored = self._inner.stored(module)
            if stored is not None:
                self._stored[module] = stored
                self._sources[module] = [pin(tensor) for tensor in stored.tensors]
        size = max(sum(map(_room, self._tensors(unit))) for unit in self._units)
        for _ in range(SLOTS if size else 0):
            buffer = torch.empty(size, dtype=torch.uint8, device=self._device)
            self._slots.append(_Slot(buffer, read=self._copies.now()))

    def _tensors(self, unit: Sequence[nn.Module]) -> Iterator[Tensor]:
        for module in unit:
            if module in self._stored:
                yield from self._stored[module].tensors

    def _visit(self, module: nn.Module, device: torch.device) -> _Slot | None:
        """The slot that holds the layer, its copies waited for.

        None: it is to be borrowed from the owner.
        """
        if module not in self._stored or self._slots[0].buffer.device != device:
            return None
        unit = self._unit_of[module]
        slot = self._slot_of(unit) or self._bring(unit)
        if slot is None:
            return None
        slot.used = next(self._clock)
        if slot.ready is not None:
            self._copies.wait(slot.ready)
            slot.ready = None
        return slot if module in slot.here else None

    def _slot_of(self, unit: int) -> _Slot | None:
        return next((slot for slot in self._slots if slot.unit == unit), None)

    def _bring(self, unit: int) -> _Slot | None:
        """Begin to copy a block over the one that was read longest ago; None while all are being read."""
        free = [slot for slot in self._slots if not slot.readers]
        if not free:
            return None
        slot = min(free, key=lambda slot: slot.used)
        modules = [module for module in self._units[unit] if module in self._stored]
        if unit not in slot.views:
            slot.views[unit] = self._views(slot.buffer, modules)
        views = zip(modules, slot.views[unit], strict=True)
        slot.here = {module: tensors for module, tensors in views if self._is_as_held(module)}
        slot.unit = unit
        pairs = [
            pair
            for module, tensors in slot.here.items()
            for pair in zip(tensors, self._sources[module], strict=True)
        ]
        slot.ready = self._copies.copy(pairs, after=slot.read)
        return slot

    def _is_as_held(self, module: nn.Module) -> bool:
        """Whether the owner has neither replaced nor patched the layer's tensors since."""
        now = self._inner.stored(module)
        tensors = () if now is None else now.tensors
        held = self._stored[module].tensors
        return len(tensors) == len(held) and all(a is b for a, b in zip(tensors, held, strict=True))

    def _views(self, buffer: Tensor, modules: Sequence[nn.Module]) -> list[Sequence[Tensor]]:
        """The places of the layers' tensors in a buffer, one after the other."""
        views, start = [], 0
        for module in modules:
            places = []
            for tensor in self._stored[module].tensors:
                place = buffer[start : start + tensor.nbytes].view(tensor.dtype)
                places.append(place.view(tensor.shape))
                start += _room(tensor)
            views.append(places)
        return views


def _room(tensor: Tensor) -> int:
    """Bytes of a tensor in a buffer."""
    return math.ceil(tensor.nbytes / ALIGNMENT) * ALIGNMENT
