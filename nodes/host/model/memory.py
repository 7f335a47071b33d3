"""Room on the device, asked for and given back through ComfyUI's memory manager."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import NamedTuple

import comfy.model_management as mm
import torch

from ....trainer.memory.plan import GIB
from .host_types import Patcher

log = logging.getLogger(__name__)

UNUSED = 0.02
"""Of a model's pages, so much may never be asked for: of CLIP-L, say, the last layer."""

_NO_MEMORY = re.compile("out of memory|STATUS_ALLOC_FAILED", re.IGNORECASE)
"""How PyTorch's backends and NVIDIA's libraries say it."""


class Paged(NamedTuple):
    """Bytes of weights that wait in RAM, of how many; none where ComfyUI does not page them."""

    away: int
    whole: int

    def __str__(self) -> str:
        return f"{self.away / GIB:.1f} of {self.whole / GIB:.1f} GiB of the model"


def available_beside(patchers: Sequence[Patcher], spared: int = 0) -> int | None:
    """Bytes of the device that weights of these models and ComfyUI's own reserve leave.

    Counted from what is free now, since others use the card too, and what loaded models will make
    free. spared: bytes of these weights that need not lie there. None on a CPU, where nothing is managed.
    """
    device = patchers[0].load_device
    if mm.is_device_cpu(device):
        return None
    if stays(patchers[0]):
        return _available_beside_all(patchers) + spared
    loaded = sum(patcher.loaded_size() for patcher in _loaded(device))
    taken = sum(patcher.model_size() for patcher in patchers) + mm.extra_reserved_memory()
    return int(mm.get_free_memory(device) + loaded - taken + spared)


def stays(patcher: Patcher) -> bool:
    """Whether ComfyUI leaves a model on the card when it is not in use, as --highvram and --gpu-only ask for."""
    device = patcher.load_device
    return patcher.offload_device == device and not mm.is_device_cpu(device)


def _available_beside_all(patchers: Sequence[Patcher]) -> int:
    """The same where these models stay, and perhaps others, even if ComfyUI's books have them unloaded."""
    device = patchers[0].load_device
    models = [patcher.model for patcher in patchers]
    going = sum(
        patcher.loaded_size()
        for patcher in _loaded(device)
        if not stays(patcher) and patcher.model not in models
    )
    coming = sum(patcher.model_size() - _bytes_there(patcher) for patcher in patchers)
    free = mm.get_free_memory(device) + going - coming
    return int(free - mm.extra_reserved_memory())


def _loaded(device: torch.device) -> list[Patcher]:
    """What lies on a device by ComfyUI's books, where entries outlive their models."""
    entries = [entry.model for entry in mm.current_loaded_models if entry.device == device]
    return [patcher for patcher in entries if patcher is not None]


def _bytes_there(patcher: Patcher) -> int:
    """Bytes of the weights that lie on the device."""
    weights = patcher.model.state_dict().values()
    return sum(weight.nbytes for weight in weights if weight.device == patcher.load_device)


def make_room(patchers: Sequence[Patcher], reserve: int, *, first_leaves: bool = False) -> None:
    """Load the models of one device and leave `reserve` bytes free, moving others and parts of the first.

    first_leaves: the weights of the first all go to where ComfyUI keeps what is not in use, if that is
    elsewhere. Must be called in inference mode: ComfyUI moves weights here.
    """
    patcher, device = patchers[0], patchers[0].load_device
    weights = patcher.model_size() if first_leaves and not stays(patcher) else 0
    mm.load_models_gpu(list(patchers), memory_required=reserve + weights)
    if mm.is_device_cpu(device) or is_dynamic(patcher) or stays(patcher):
        return
    # ComfyUI up to 0.3.x does not shrink a model that is loaded already
    short = weights or reserve - mm.get_free_memory(device)
    if short > 0:
        patcher.partially_unload(patcher.offload_device, short)


def room_beside(patcher: Patcher, reserve: int) -> float:
    """Bytes free where a loaded model computes, without ``reserve``; none where ComfyUI pages weights, which
    whatever else lies there would push out."""
    if is_dynamic(patcher):
        return 0.0
    free = mm.get_free_memory(patcher.load_device) - mm.extra_reserved_memory() - reserve
    return max(0.0, float(free))


def give_back() -> None:
    """Return what training held to the device's allocator and the manager."""
    mm.soft_empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device had no more memory, be it found out later (see PyTorch's AcceleratorError)."""
    own = getattr(mm, "is_oom", None)  # takes such a late error off the device, too
    if own is not None and own(error):
        return True
    said = isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))
    return isinstance(error, mm.OOM_EXCEPTION) or bool(said)


def explain_out_of_memory(error: BaseException) -> None:
    """Say in the log what helps; the error itself goes on to ComfyUI, which unloads models."""
    if is_out_of_memory(error):
        log.error(
            "LoRA Loop: out of memory while training. Set checkpointing to full, lower the batch "
            "size (raise accumulation instead), the resolution or the rank, or close other programs."
        )


def paged_out(patchers: Sequence[Patcher]) -> Paged:
    """How much of these models dynamic VRAM has not on the device. To be asked after a step.

    Pages come when they are first used, and once some were taken away, all behind them stay away until
    the model is loaded again: room that is free by then is not used.
    """
    away = whole = 0
    for patcher in patchers:
        pages = getattr(patcher.model, "dynamic_vbars", {}).get(patcher.load_device)
        if pages is not None:
            whole += pages.offset
            away += max(0, pages.offset - pages.loaded_size())
    return Paged(away if away > UNUSED * whole else 0, whole)


def is_dynamic(patcher: Patcher) -> bool:
    """Whether ComfyUI pages the weights of this model in and out by itself."""
    return bool(getattr(patcher, "is_dynamic", lambda: False)())
