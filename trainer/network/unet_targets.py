"""Which layers of an SDXL UNet get an adapter, and how large: kohya's `networks.lora`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..config.lora import Algorithm, LoraConfig
from ..frozen.forward import is_linear
from ..sdxl.blocks import block_of
from .full_targets import unet_layers

PREFIX = "lora_unet_"
TRANSFORMERS = {"SpatialTransformer"}
ATTENTION = {"CrossAttention"}
RESIDUALS = {"ResBlock", "Downsample", "Upsample"}


@dataclass(frozen=True)
class Target:
    """A layer that gets an adapter: its path in its model, its kohya key, the adapter's size and kind."""

    path: str
    key: str
    module: nn.Module
    rank: int
    alpha: float
    algorithm: Algorithm = "lora"
    dora: bool = False
    factor: int = -1
    """LoKr's: the small factor of the layer's width; -1 for the one next to its square root."""
    whole: bool = False
    """LoKr's: the second matrix stays whole, whatever the rank."""
    rate: float | None = None
    """The multiplier of its learning rate, in a text encoder; in the UNet its block has one."""
    blocks: int = 0
    """OFT's: how many there are; 0 for blocks of at most ``rank`` outputs."""
    constraint: float = 0.0
    """OFT's: how far it turns at most, over the number of outputs; 0 for as far as it likes."""
    dtype: torch.dtype = torch.float32
    """Of what is trained of it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the layer's weight: [out, in], [out, in, k, k], or [width] of a norm."""
        layer: Any = self.module
        if isinstance(layer, nn.GroupNorm):
            return (layer.num_channels,)
        if isinstance(layer, nn.LayerNorm):
            return tuple(layer.normalized_shape)
        if isinstance(layer, nn.Conv2d):
            return layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size
        return int(layer.out_features), int(layer.in_features)


def find_targets(unet: nn.Module, config: LoraConfig) -> list[Target]:
    """The layers that kohya would adapt, in its order; in full fine-tuning those of the parts (full_targets.py).

    Every linear layer and 1x1 convolution of the transformers; with conv_rank also the 3x3
    convolutions of resnets and samplers at conv_rank and their linear and 1x1 layers at rank. Ranks
    and alphas by block override those, and a block of rank or learning rate 0 has no adapter.
    `LoraConfig.layers` may choose others.
    """
    if config.algorithm == "full":
        return [whole(PREFIX, path, layer, config) for path, layer in unet_layers(unet, config)]
    classes = _classes(config)
    targets: dict[str, Target] = {}
    for path, module in unet.named_modules():
        if type(module).__name__ in classes:
            for sub, layer in module.named_modules(prefix=path):
                target = _target(sub, layer, config)
                if target is not None:
                    targets.setdefault(target.key, target)
    return list(targets.values())


def whole(
    prefix: str, path: str, layer: nn.Module, config: LoraConfig, rate: float | None = None
) -> Target:
    """A layer whose weight is trained as a whole: nothing has a rank, and nothing is scaled."""
    key = prefix + path.replace(".", "_")
    dtype = torch.bfloat16 if config.bf16_weights else torch.float32
    return Target(path, key, layer, 0, 1.0, algorithm="full", rate=rate, dtype=dtype)


def _classes(config: LoraConfig) -> set[str]:
    """The classes of the modules whose layers are adapted."""
    if config.layers == "resnets":
        return RESIDUALS
    inner = ATTENTION if config.layers == "attention" else TRANSFORMERS
    return inner | RESIDUALS if config.adapts_resnets else inner


def kind_of(config: LoraConfig) -> dict[str, Any]:
    """What a `Target` says of the kind of its adapter, by field."""
    return {
        "algorithm": config.algorithm,
        "dora": config.dora,
        "factor": config.lokr_factor,
        "whole": config.full_matrix,
        "blocks": config.oft_blocks,
        "constraint": config.oft_constraint,
    }


def _target(path: str, layer: nn.Module, config: LoraConfig) -> Target | None:
    block = block_of(path)
    if is_linear(layer) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
        rank = config.block_ranks[block] if config.block_ranks else config.rank
        alpha = config.block_alphas[block] if config.block_alphas else config.alpha
    elif isinstance(layer, nn.Conv2d):
        ranks, alphas = config.conv_block_ranks, config.conv_block_alphas
        rank = ranks[block] if ranks else config.conv_rank
        alpha = alphas[block] if alphas else config.conv_alpha
    else:
        return None
    if not rank or (config.block_rates and not config.block_rates[block]):
        return None
    alpha = alpha or rank  # kohya: alpha 0 is no scaling
    if config.rank_stabilised:  # so that alpha / rank is alpha / sqrt(rank), in the file as well
        alpha *= math.sqrt(rank)
    return Target(path, PREFIX + path.replace(".", "_"), layer, rank, alpha, **kind_of(config))
