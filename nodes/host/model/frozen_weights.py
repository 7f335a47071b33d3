"""How a training reaches the weights of the model: as ComfyUI has them, in 8 bits, block by block."""

from __future__ import annotations

import logging
from functools import partial

import torch
from comfy.cli_args import args
from torch import nn

from ....trainer.config.speed import SpeedConfig
from ....trainer.device.copy_stream import Copies, InOrder, copies_to
from ....trainer.frozen.forward import is_linear
from ....trainer.frozen.quantised import Quantised, code_dtype, kept_bytes
from ....trainer.frozen.streaming import SLOTS, Streamed, stream_units
from ....trainer.frozen.weights import Storage, Weights
from . import memory, unet
from .host_types import ModelPatcher
from .pinning import pinned
from .weights import ComfyWeights

log = logging.getLogger(__name__)

GIB = 1024**3


def frozen_weights(patcher: ModelPatcher, speed: SpeedConfig) -> Weights:
    """The weights of a MODEL as the settings ask for them."""
    device, name = patcher.load_device, speed.frozen_weights
    units = stream_units(patcher.model.diffusion_model)
    storage: Storage = ComfyWeights()
    if name != "as loaded":
        layers = [layer for unit in units for layer in unit]
        dtype, resident = unet.compute_dtype(patcher), not speed.stream_weights
        storage = Quantised(storage, layers, name, device, dtype, resident=resident)
        log.info("LoRA Loop: %s", _stored(units, speed))
    if not speed.stream_weights:
        return storage
    log.info("LoRA Loop: %s", _streamed(units, speed, pages=memory.is_dynamic(patcher)))
    copies = copies_to
    if getattr(args, "disable_async_offload", False):
        log.info(
            "LoRA Loop: stream_weights: copies take turns with computing (--disable-async-offload)."
        )
        copies = _in_turn
    return Streamed(storage, units, device, pinning=partial(pinned, device), copies=copies)


def _in_turn(_: torch.device) -> Copies:
    return InOrder()


def spared_bytes(patcher: ModelPatcher, speed: SpeedConfig) -> int:
    """How many bytes of a MODEL's weights do not lie on its device while training.

    Below 0 where they stay there, and what is computed with comes on top.
    """
    if not speed.model_leaves_card:
        return 0
    units = stream_units(patcher.model.diffusion_model)
    gone = 0 if memory.stays(patcher) else patcher.model_size()
    return gone - _bytes_on_device(units, speed)


def notes(patcher: ModelPatcher, speed: SpeedConfig) -> list[str]:
    """What is allowed but does not help, as sentences."""
    if not (speed.model_leaves_card and memory.stays(patcher)):
        return []
    return [
        "ComfyUI keeps this MODEL on its device (--highvram or --gpu-only), where stream_weights and "
        "frozen_weights then need memory instead of saving it: start ComfyUI without, or turn them off."
    ]


def check(patcher: ModelPatcher, speed: SpeedConfig) -> None:
    """Raise ValueError where the weights of a MODEL cannot be stored as the settings ask."""
    if speed.frozen_weights == "as loaded":
        return
    if code_dtype(speed.frozen_weights) is None:
        raise ValueError(
            "This PyTorch has no 8 bit floating point numbers: set frozen_weights (Speed and Memory "
            "Settings) to int8, or install PyTorch 2.1 or later."
        )
    modules = patcher.model.diffusion_model.modules()
    if any(is_linear(module) and _is_small(module) for module in modules):
        raise ValueError(
            "This MODEL is stored in 8 bits or fewer already, so frozen_weights would save nothing: "
            "set it to as loaded in Speed and Memory Settings, or load the model in 16 bits."
        )


def _is_small(linear: nn.Module) -> bool:
    """Whether a layer's weight is quantised or has one byte for each number."""
    weight = linear.weight
    return type(weight) is not nn.Parameter or weight.dtype.itemsize == 1


def _bytes_on_device(units: list[list[nn.Module]], speed: SpeedConfig) -> int:
    """Bytes of the weights of the UNet, in these blocks, that lie on the device at any time."""
    sizes = [sum(kept_bytes(layer, speed.frozen_weights) for layer in unit) for unit in units]
    return SLOTS * max(sizes) if speed.stream_weights else sum(sizes)


def _stored(units: list[list[nn.Module]], speed: SpeedConfig) -> str:
    layers = [layer for unit in units for layer in unit]
    before, after = (
        sum(kept_bytes(layer, name) for layer in layers) / GIB
        for name in ("as loaded", speed.frozen_weights)
    )
    where = "in RAM, beside the model's own" if speed.stream_weights else "on the card"
    return (
        f"linear layers are stored in {speed.frozen_weights} while training: "
        f"{after:.1f} GiB {where}, in place of {before:.1f}."
    )


def _streamed(units: list[list[nn.Module]], speed: SpeedConfig, *, pages: bool) -> str:
    if pages and speed.frozen_weights == "as loaded":
        return (
            "stream_weights: ComfyUI pages the weights of this MODEL in and out by itself (dynamic "
            "VRAM), so that is left to it."
        )
    ring = _bytes_on_device(units, speed) / GIB
    return f"weights stay in RAM and come block by block, through {ring:.2f} GiB on the card."
