"""kohya's network_module and network_args as the settings of the adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .blocks import parse_alphas, parse_ranks, rate_weights

MODULE = "networks.lora"

FRONT_END_NAMES = ("Standard", "Kohya LoCon")
"""What kohya's graphical front end calls the networks of `networks.lora`, as LoRA_type."""

_WEIGHTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
_NEEDS_BLOCKS = ("block_alphas", "conv_block_dims", "conv_block_alphas")

ARGUMENTS = frozenset({
    "conv_dim", "conv_alpha", "dropout", "rank_dropout", "module_dropout", "block_dims",
    "block_lr_zero_threshold", "loraplus_lr_ratio", "loraplus_unet_lr_ratio", *_NEEDS_BLOCKS, *_WEIGHTS,
})  # fmt: skip
"""The network_args of networks.lora that are understood."""


def network_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The LoraConfig fields that network arguments decide together.

    Raises:
        ValueError: the network module or an argument of it is unknown, or has a wrong value.
    """
    if values["network_module"] != MODULE or values["LoRA_type"] not in FRONT_END_NAMES:
        raise ValueError(
            f"network_module {values['network_module']!r} with LoRA_type {values['LoRA_type']!r}: only "
            f"{MODULE} with LoRA_type {' or '.join(FRONT_END_NAMES)} can be trained"
        )
    given = _arguments(values["network_args"])
    unknown = sorted(given.keys() - ARGUMENTS)
    if unknown:
        raise ValueError(
            f"network_args has {unknown[0]}; understood are {', '.join(sorted(ARGUMENTS))}"
        )
    weights = [given.get(name, "") for name in _WEIGHTS]
    if not ("block_dims" in given or any(weights)):
        loose = [name for name in _NEEDS_BLOCKS if name in given]
        if loose:
            raise ValueError(f"network_args {loose[0]} has no effect without block_dims; add them")
    conv_rank = int(_number(given, "conv_dim", 0))
    return {
        "alpha": values["network_alpha"] or float(values["network_dim"]),
        "dropout": _number(given, "dropout", values["network_dropout"]),
        "rank_dropout": _number(given, "rank_dropout", 0.0),
        "module_dropout": _number(given, "module_dropout", 0.0),
        "conv_rank": conv_rank,
        "conv_alpha": _number(given, "conv_alpha", 1.0) or float(conv_rank) or 1.0,
        "loraplus_ratio": _number(
            given, "loraplus_unet_lr_ratio", _number(given, "loraplus_lr_ratio", 0.0)
        ),
        "block_ranks": parse_ranks(given.get("block_dims", ""), "block_dims"),
        "block_alphas": parse_alphas(given.get("block_alphas", ""), "block_alphas"),
        "conv_block_ranks": parse_ranks(given.get("conv_block_dims", ""), "conv_block_dims"),
        "conv_block_alphas": parse_alphas(given.get("conv_block_alphas", ""), "conv_block_alphas"),
        "block_rates": rate_weights(
            weights[0], weights[1], weights[2], _number(given, "block_lr_zero_threshold", 0.0)
        ),
    }


def _arguments(lines: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for line in lines:
        key, mark, value = (part.strip() for part in line.partition("="))
        if not mark:
            raise ValueError(f"network_args {line!r} is not of the form key=value")
        found[key] = value
    return found


def _number(given: Mapping[str, str], name: str, default: float) -> float:
    text = given.get(name, "")
    if text in ("", "None"):
        return default
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"network_args {name} is {text!r}; it must be a number") from error
