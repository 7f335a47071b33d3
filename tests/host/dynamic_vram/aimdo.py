"""A stand-in for comfy-aimdo, which pages the weights of ComfyUI's models in and out of a card.

It follows comfy-aimdo 0.4.11 to 0.4.13 (src/model-vbar.c), only that its pages hold nothing: the card is
PyTorch's meta device. Every weight is used between a fault, which pins its pages, and an unpin. Whatever
reads a weight outside of that reads memory that may be another's by then; real pages are seldom taken
away just there, these are at once.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

PAGE = 1 << 16
"""Bytes; 32 MiB there, but the tiny model has to have several."""

MOST = 3
"""Weights that are used at a time: those of queries, keys and values."""


def _pages(size: int) -> int:
    return -(-size // PAGE)


class Misused(AssertionError):
    """Something that a real card would not refuse, but compute wrong numbers or run out of memory with."""


class Pages:
    """The card's memory for weights. Raises Misused the moment that it is not used as it must be."""

    def __init__(self, *, steals: bool) -> None:
        self.steals = steals
        """Whether a page is taken away the moment nobody pins it: the worst that pressure can do."""
        self.ranges: list[Vbar] = []
        """Of all models that are loaded, the least important first."""
        self.faults = self.refused = 0
        """Refused are those above a watermark: such a weight comes over PCIe at every use."""
        self.borrowed = 0
        """Weights that are pinned now."""
        self._lent: dict[int, tuple[Any, Vbar, range, tuple[int, ...]]] = {}

    def lend(self, vbar: Vbar, address: int, size: int) -> Tensor:
        """A tensor whose memory are these pages."""
        tensor = torch.empty(size, dtype=torch.uint8, device="meta")
        pages = vbar.pages(address, size)
        storage = tensor.untyped_storage()  # kept, so that its address stays its own
        self._lent[storage._cdata] = storage, vbar, pages, vbar.serials(pages)
        return tensor

    def watch(self, name: str, tensors: list[Tensor]) -> None:
        """Refuse an operation on weights whose pages are not pinned, or are new ones by now."""
        for tensor in tensors:
            found = self._lent.get(tensor.untyped_storage()._cdata)
            if found is None:
                continue
            _, vbar, pages, serials = found
            if not all(vbar.pins[page] > 0 for page in pages) or vbar.serials(pages) != serials:
                raise Misused(f"{name} of {tuple(tensor.shape)} on pages that nobody pins")

    def by_size(self) -> Vbar:
        """The pages of the largest model, the UNet."""
        return max(self.ranges, key=lambda vbar: vbar.offset)


class Vbar:
    """comfy_aimdo.model_vbar.ModelVBAR: the address space of one model's weights."""

    def __init__(self, card: Pages, size: int) -> None:
        self._card = card
        self.count = self.watermark = _pages(size)
        self.offset, self.base_addr = 0, 0
        self.pins: Counter[int] = Counter()
        self.prioritised = 0
        self._serial: Counter[int] = Counter()
        self._here: set[int] = set()
        card.ranges.append(self)

    def pages(self, address: int, size: int) -> range:
        return range(address // PAGE, _pages(address + size))

    def serials(self, pages: range) -> tuple[int, ...]:
        """How often each has been filled; 0 where it is not on the card."""
        return tuple(self._serial[page] if page in self._here else 0 for page in pages)

    def prioritize(self) -> None:
        self.prioritised += 1
        self.watermark = self.count
        self._card.ranges.remove(self)
        self._card.ranges.append(self)

    def alloc(self, num_bytes: int) -> tuple[Vbar, int, int]:
        start = -(-self.offset // 512) * 512
        self.offset = start + num_bytes
        return self, start, num_bytes

    def fault(self, address: int, size: int) -> tuple[int, ...] | None:
        pages = self.pages(address, size)
        self._card.faults += 1
        if pages.stop > self.watermark:
            self._card.refused += 1
            return None
        self._card.borrowed += 1
        if self._card.borrowed > MOST:
            raise Misused(f"{self._card.borrowed} weights are pinned at a time")
        for page in pages:
            if page not in self._here:
                self._here.add(page)
                self._serial[page] += 1
            self.pins[page] += 1
        return self.serials(pages)

    def unpin(self, address: int, size: int) -> None:
        self._card.borrowed -= 1
        for page in self.pages(address, size):
            self.pins[page] -= 1
            if self.pins[page] < 0:
                raise Misused("a page is unpinned that nobody has pinned")
            if self.pins[page] <= 0 and (self._card.steals or page >= self.watermark):
                self._here.discard(page)

    def loaded_size(self) -> int:
        return len(self._here) * PAGE

    def free_memory(self, size: int) -> int:
        freed = 0
        while freed < _pages(size) and self.watermark > 0:
            self.watermark -= 1
            if self.watermark in self._here and not self.pins[self.watermark]:
                self._here.discard(self.watermark)
                freed += 1
        return freed * PAGE


class HostBuffer:
    """comfy_aimdo.host_buffer.HostBuffer: memory for pinned copies, of which none are made here."""

    def __init__(self, *sizes: int) -> None:
        self.size = 0

    def truncate(self, size: int, **how: Any) -> None:
        self.size = size


def install(monkeypatch: Any, card: Pages) -> None:
    """Put the stand-in below ComfyUI and switch dynamic VRAM on, until monkeypatch undoes it.

    A checkpoint is to be written before: what is built of modules afterwards has no weights.
    """
    import comfy.memory_management
    import comfy.model_patcher
    import comfy.pinned_memory
    import comfy.utils
    import comfy_aimdo.host_buffer
    import comfy_aimdo.model_vbar
    import comfy_aimdo.torch
    from safetensors.torch import load_file

    vbar = comfy_aimdo.model_vbar
    monkeypatch.setattr(vbar, "ModelVBAR", lambda size, device: Vbar(card, size))
    monkeypatch.setattr(vbar, "vbar_fault", lambda lent: lent[0].fault(*lent[1:]))
    monkeypatch.setattr(vbar, "vbar_unpin", lambda lent: lent and lent[0].unpin(*lent[1:]))
    monkeypatch.setattr(vbar, "vbar_signature_compare", lambda a, b: a is not None and a == b)
    monkeypatch.setattr(vbar, "vbars_analyze", lambda *device: 0)
    monkeypatch.setattr(comfy_aimdo.torch, "aimdo_to_tensor", lambda lent, _: card.lend(*lent))
    monkeypatch.setattr(comfy_aimdo.host_buffer, "HostBuffer", HostBuffer)
    monkeypatch.setattr(comfy.pinned_memory, "get_pin", lambda module, subset="weights": None)
    monkeypatch.setattr(comfy.pinned_memory, "pin_memory", lambda *_, **__: None)
    monkeypatch.setattr(comfy.utils, "load_safetensors", lambda path: (load_file(path), {}))
    patcher = comfy.model_patcher
    listed = patcher.ModelPatcher._load_list
    monkeypatch.setattr(
        patcher.ModelPatcher,
        "_load_list",
        lambda self, for_dynamic=False, default_device=None: (
            _move_of_branches(self.model, default_device),
            listed(self, for_dynamic=for_dynamic),
        )[1],
    )
    monkeypatch.setattr(patcher, "CoreModelPatcher", patcher.ModelPatcherDynamic)
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)


def _move_of_branches(model: torch.nn.Module, device: torch.device | None) -> None:
    """What `_load_list` does by setting `data`, which cannot go from the CPU to the meta device."""
    for module in model.modules() if device is not None else ():
        own = dict(module.named_parameters(recurse=False))
        if len(own) < len(dict(module.named_parameters())):
            for name, parameter in own.items():
                moved = torch.nn.Parameter(parameter.to(device), requires_grad=False)
                module._parameters[name] = moved
