"""SDXL's text encoders as something to train: which of their layers get an adapter, and their plan.

Names and targets are kohya's `networks.lora`. An encoder is its transformer, whose modules have the
paths that they have in transformers' CLIP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from ..config.train import TrainConfig
from ..frozen.forward import is_linear
from .full_targets import text_layers
from .unet_targets import Target, find_targets, kind_of, whole

PREFIXES = "lora_te1_", "lora_te2_"
ATTENTION = {"CLIPAttention"}
BLOCKS = ATTENTION | {"CLIPMLP"}


def run_targets(
    unet: nn.Module, encoders: Sequence[nn.Module], config: TrainConfig
) -> list[Target]:
    """The layers that a run trains, in kohya's order: CLIP-L, CLIP-G, UNet.

    ``encoders`` are both or, where none is trained, none. There are no layers where an embedding is
    trained alone.
    """
    if not config.trains_lora:
        return []
    targets = find_text_targets(encoders, config) if config.optimiser.trains_text else []
    return targets + (find_targets(unet, config.lora) if config.optimiser.train_unet else [])


def find_text_targets(encoders: Sequence[nn.Module], config: TrainConfig) -> list[Target]:
    """Every linear layer of attention and MLP in the encoders that have a learning rate; in full fine-tuning
    those of the parts (full_targets.py).

    Also in the last layer, which nothing reads of CLIP-L: kohya has these adapters too. Attention alone
    where `LoraConfig.layers` says so.
    """
    targets = []
    classes = ATTENTION if config.lora.layers == "attention" else BLOCKS
    for prefix, encoder, rate in zip(PREFIXES, encoders, config.optimiser.text_rates, strict=True):
        if not rate:
            continue
        factor = rate / config.optimiser.learning_rate
        if config.lora.algorithm == "full":
            layers = text_layers(encoder, config.lora)
            targets += [whole(prefix, path, layer, config.lora, factor) for path, layer in layers]
            continue
        blocks = ((p, m) for p, m in encoder.named_modules() if type(m).__name__ in classes)
        for path, block in blocks:
            targets += [
                _target(prefix, sub, layer, factor, config)
                for sub, layer in block.named_modules(prefix=path)
                if is_linear(layer)
            ]
    return targets


def _target(prefix: str, path: str, layer: nn.Module, factor: float, config: TrainConfig) -> Target:
    rank, alpha = config.lora.rank, config.lora.alpha
    if config.lora.rank_stabilised:
        alpha *= math.sqrt(rank)
    key = prefix + path.replace(".", "_")
    return Target(path, key, layer, rank, alpha, **kind_of(config.lora), rate=factor)
