"""Room on the device, asked for and given back through ComfyUI's memory manager."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import comfy.model_management as mm

from .host_types import Patcher

log = logging.getLogger(__name__)


def available_beside(patchers: Sequence[Patcher], spared: int = 0) -> int | None:
    """Bytes of the device that weights of these models and ComfyUI's own reserve leave.

    Counted from what is free now, since others use the card too, and what loaded models will make
    free. spared: bytes of these weights that need not lie there, or of what lies there already. None
    on a CPU, where nothing is managed.
    """
    device = patchers[0].load_device
    if mm.is_device_cpu(device):
        return None
    others = [other.model for other in mm.current_loaded_models if other.device == device]
    loaded = sum(patcher.loaded_size() for patcher in others if patcher is not None)
    taken = sum(patcher.model_size() for patcher in patchers) + mm.extra_reserved_memory()
    return int(mm.get_free_memory(device) + loaded - taken + spared)


def make_room(patchers: Sequence[Patcher], reserve: int, *, first_leaves: bool = False) -> None:
    """Load the models of one device and leave `reserve` bytes free, moving others and parts of the first.

    first_leaves: the weights of the first all go to where ComfyUI keeps what is not in use. Must be
    called in inference mode: ComfyUI moves weights here.
    """
    patcher, device = patchers[0], patchers[0].load_device
    weights = patcher.model_size() if first_leaves else 0
    mm.load_models_gpu(list(patchers), memory_required=reserve + weights)
    if mm.is_device_cpu(device) or is_dynamic(patcher):
        return
    # ComfyUI up to 0.3.x does not shrink a model that is loaded already
    short = weights or reserve - mm.get_free_memory(device)
    if short > 0:
        patcher.partially_unload(patcher.offload_device, short)


def give_back() -> None:
    """Return what training held to the device's allocator and the manager."""
    mm.soft_empty_cache()


def explain_out_of_memory(error: BaseException) -> None:
    """Say in the log what helps; the error itself goes on to ComfyUI, which unloads models."""
    if isinstance(error, mm.OOM_EXCEPTION):
        log.error(
            "LoRA Loop: out of memory while training. Set checkpointing to full, lower the batch "
            "size (raise accumulation instead), the resolution or the rank, or close other programs."
        )


def is_dynamic(patcher: Patcher) -> bool:
    """Whether ComfyUI pages the weights of this model in and out by itself."""
    return bool(getattr(patcher, "is_dynamic", lambda: False)())
