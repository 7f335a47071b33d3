"""Which layers full fine-tuning trains: every one that has weights, or those of the parts that are named.

As in kohya's `sdxl_train.py` the UNet is trained with its norms and embeddings. Of a text encoder the
linear layers are trained that a LoRA has, under kohya's names for them. kohya trains its norms, tables and
CLIP-G's projection too; norms and tables have no such name, and ComfyUI's loader passes over what it does
not know with a line in the log, so the file would not be what was trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

from ..config.lora import LoraConfig, Part
from ..frozen.forward import is_linear
from ..sdxl.blocks import block_of

_OF_UNET: tuple[tuple[Part, re.Pattern[str]], ...] = (
    ("attention", re.compile(r"transformer_blocks\.\d+\.(?:attn[12]\.|norm[12]$)")),
    ("feed-forward", re.compile(r"transformer_blocks\.\d+\.(?:ff\.|norm3$)")),
    (
        "residual",
        re.compile(r"\.(?:in_layers|emb_layers|out_layers|skip_connection)\b|\.(?:op|conv)$"),
    ),
)
_OF_TEXT: tuple[tuple[Part, re.Pattern[str]], ...] = (
    ("attention", re.compile(r"encoder\.layers\.\d+\.self_attn\.")),
    ("feed-forward", re.compile(r"encoder\.layers\.\d+\.mlp\.")),
)


def has_weights(module: nn.Module) -> bool:
    """Whether it is a layer of a kind whose whole weight can be trained."""
    return is_linear(module) or isinstance(module, nn.Conv2d | nn.GroupNorm | nn.LayerNorm)


def unet_layers(unet: nn.Module, config: LoraConfig) -> Iterator[tuple[str, nn.Module]]:
    """Paths and layers of the UNet that are trained; a block of learning rate 0 is not."""
    rates = config.block_rates
    for path, module in unet.named_modules():
        part = _part(path, _OF_UNET) or "rest"
        is_still = bool(rates) and not rates[block_of(path)]
        if has_weights(module) and not is_still and _is_wanted(part, config):
            yield path, module


def text_layers(encoder: nn.Module, config: LoraConfig) -> Iterator[tuple[str, nn.Module]]:
    """Paths and layers of a text encoder that are trained."""
    for path, module in encoder.named_modules():
        part = _part(path, _OF_TEXT)
        if part and has_weights(module) and _is_wanted(part, config):
            yield path, module


def _part(path: str, known: tuple[tuple[Part, re.Pattern[str]], ...]) -> Part | None:
    return next((part for part, pattern in known if pattern.search(path)), None)


def _is_wanted(part: Part, config: LoraConfig) -> bool:
    return not config.parts or part in config.parts
