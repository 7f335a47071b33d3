"""Room on the device, asked for and given back through ComfyUI's memory manager."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import comfy.model_management as mm

from .host_types import Patcher

log = logging.getLogger(__name__)


def available_beside(patchers: Sequence[Patcher], spared: int = 0) -> int | None:
    """Bytes of the device that weights of these models and ComfyUI's own reserve leave.

    spared: bytes of these weights that need not lie there. None on a CPU, where nothing is managed.
    """
    device = patchers[0].load_device
    if mm.is_device_cpu(device):
        return None
    if stays(patchers[0]):
        return _available_beside_all(patchers) + spared
    taken = sum(patcher.model_size() for patcher in patchers) + mm.minimum_inference_memory()
    return int(mm.get_total_memory(device) - taken + spared)


def stays(patcher: Patcher) -> bool:
    """Whether ComfyUI leaves a model on the card when it is not in use, as --highvram and --gpu-only ask for."""
    device = patcher.load_device
    return patcher.offload_device == device and not mm.is_device_cpu(device)


def _available_beside_all(patchers: Sequence[Patcher]) -> int:
    """The same where these models stay, and perhaps others, even if ComfyUI's books have them unloaded."""
    device = patchers[0].load_device
    models = [patcher.model for patcher in patchers]
    going = sum(
        loaded.model_loaded_memory()
        for loaded in mm.current_loaded_models
        if loaded.device == device and not stays(loaded.model) and loaded.model.model not in models
    )
    coming = sum(patcher.model_size() - _bytes_there(patcher) for patcher in patchers)
    free = mm.get_free_memory(device) + going - coming
    return int(free - mm.minimum_inference_memory())


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
