"""kohya's network settings, as recorded, in our words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..trainer.config.lora import LoraConfig
from ..trainer.sdxl.blocks import parse_alphas, parse_ranks, rate_weights
from .case import Unsupported

_KNOWN = {
    "conv_dim",
    "conv_alpha",
    "block_dims",
    "block_alphas",
    "conv_block_dims",
    "conv_block_alphas",
    "down_lr_weight",
    "mid_lr_weight",
    "up_lr_weight",
    "block_lr_zero_threshold",
    "loraplus_lr_ratio",
    "loraplus_unet_lr_ratio",
    "rank_dropout",
    "module_dropout",
}


def lora_config(network: Mapping[str, Any], arguments: Mapping[str, str]) -> LoraConfig:
    """kohya's network settings and its network_args as ours. Raises Unsupported, naming what is not built."""
    unknown = arguments.keys() - _KNOWN
    if unknown:
        raise Unsupported(f"network_args {', '.join(sorted(unknown))}")

    def text(name: str) -> str:
        return str(arguments.get(name) or "")

    def number(name: str) -> float:
        return float(arguments.get(name) or 0.0)

    conv_rank = int(arguments.get("conv_dim") or network.get("conv_dim") or 0)
    conv_alpha = arguments.get("conv_alpha", network.get("conv_alpha"))
    return LoraConfig(
        rank=network["network_dim"],
        alpha=network["network_alpha"] or network["network_dim"],
        conv_rank=conv_rank,
        conv_alpha=1.0 if conv_alpha is None else float(conv_alpha) or conv_rank or 1.0,
        dropout=network.get("network_dropout") or 0.0,
        rank_dropout=number("rank_dropout"),
        module_dropout=number("module_dropout"),
        loraplus_ratio=number("loraplus_unet_lr_ratio") or number("loraplus_lr_ratio"),
        max_norm=network.get("scale_weight_norms") or 0.0,
        block_ranks=parse_ranks(text("block_dims"), "block_dims"),
        block_alphas=parse_alphas(text("block_alphas"), "block_alphas"),
        conv_block_ranks=parse_ranks(text("conv_block_dims"), "conv_block_dims"),
        conv_block_alphas=parse_alphas(text("conv_block_alphas"), "conv_block_alphas"),
        block_rates=rate_weights(
            text("down_lr_weight"),
            text("mid_lr_weight"),
            text("up_lr_weight"),
            number("block_lr_zero_threshold"),
        ),
    )
