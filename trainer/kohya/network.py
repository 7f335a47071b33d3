"""kohya's network_module and network_args as the settings of the adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..sdxl.blocks import parse_alphas, parse_ranks, rate_weights

LORA, LYCORIS = "networks.lora", "lycoris.kohya"
"""The network modules that can be trained."""

FRONT_END = {LORA: ("Standard", "Kohya LoCon"), LYCORIS: ("LyCORIS/",)}
"""How the LoRA_type of kohya's graphical front end begins for each."""

_WEIGHTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
_NEEDS_BLOCKS = ("block_alphas", "conv_block_dims", "conv_block_alphas")
_SHARED = ("conv_dim", "conv_alpha", "dropout", "rank_dropout", "module_dropout")
_ARGUMENTS = {
    LORA: {
        *_SHARED, *_NEEDS_BLOCKS, *_WEIGHTS, "block_dims", "block_lr_zero_threshold",
        "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio",
    },
    LYCORIS: {*_SHARED, "algo", "factor", "dora_wd", "wd_on_output", "rs_lora", "preset"},
}  # fmt: skip
_ALGORITHMS = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr"}
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no", "none", "")


def network_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The LoraConfig fields that network arguments decide together.

    Raises:
        ValueError: the network module or an argument of it is unknown, or has a wrong value.
    """
    module = values["network_module"]
    if module not in FRONT_END:
        raise ValueError(
            f"network_module is {module!r}; {LORA} and {LYCORIS} can be trained, choose one of them"
        )
    kind = values["LoRA_type"]
    if kind and not kind.startswith(FRONT_END[module]):
        raise ValueError(f"LoRA_type {kind!r} contradicts network_module {module}; take one away")
    given = _arguments(values["network_args"])
    unknown = sorted(given.keys() - _ARGUMENTS[module])
    if unknown:
        known = ", ".join(sorted(_ARGUMENTS[module]))
        raise ValueError(f"network_args has {unknown[0]}; of {module} are understood {known}")
    alpha = values["network_alpha"] or float(values["network_dim"])
    return {
        "alpha": alpha,
        "dropout": _number(given, "dropout", values["network_dropout"]),
        "rank_dropout": _number(given, "rank_dropout", 0.0),
        "module_dropout": _number(given, "module_dropout", 0.0),
        **(
            _lora(given, values)
            if module == LORA
            else _lycoris(given, values["network_dim"], alpha)
        ),
    }


def _lora(given: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    weights = [given.get(name, "") for name in _WEIGHTS]
    loose = [name for name in _NEEDS_BLOCKS if name in given]
    if loose and not ("block_dims" in given or any(weights)):
        raise ValueError(f"network_args {loose[0]} has no effect without block_dims; add them")
    conv_rank = int(_number(given, "conv_dim", 0))
    threshold = _number(given, "block_lr_zero_threshold", 0.0)
    shared = _number(given, "loraplus_lr_ratio", 0.0)
    ratio = _number(given, "loraplus_unet_lr_ratio", shared)
    of_texts = _number(given, "loraplus_text_encoder_lr_ratio", shared)
    if of_texts != ratio and not values["network_train_unet_only"]:
        raise ValueError(
            f"network_args give LoRA+ ratios {ratio:g} for the UNet and {of_texts:g} for the text "
            "encoders; there is one for all here, loraplus_lr_ratio"
        )
    return {
        "conv_rank": conv_rank,
        "conv_alpha": _number(given, "conv_alpha", 1.0) or float(conv_rank) or 1.0,
        "loraplus_ratio": ratio,
        "block_ranks": parse_ranks(given.get("block_dims", ""), "block_dims"),
        "block_alphas": parse_alphas(given.get("block_alphas", ""), "block_alphas"),
        "conv_block_ranks": parse_ranks(given.get("conv_block_dims", ""), "conv_block_dims"),
        "conv_block_alphas": parse_alphas(given.get("conv_block_alphas", ""), "conv_block_alphas"),
        "block_rates": rate_weights(weights[0], weights[1], weights[2], threshold),
    }


def _lycoris(given: Mapping[str, str], rank: int, alpha: float) -> dict[str, Any]:
    """LyCORIS adapts convolutions unless told otherwise, at the rank of the rest."""
    algorithm, preset = given.get("algo", "lora"), given.get("preset", "full")
    if algorithm not in _ALGORITHMS:
        known = ", ".join(_ALGORITHMS)
        raise ValueError(f"network_args algo is {algorithm!r}; it must be one of {known}")
    if preset != "full":
        raise ValueError(f"network_args preset is {preset!r}; only full is understood")
    dora = _switch(given, "dora_wd", False)
    if dora and _switch(given, "wd_on_output", True):
        raise ValueError(
            "network_args dora_wd scales columns here, as the paper does: add wd_on_output=False"
        )
    return {
        "algorithm": _ALGORITHMS[algorithm],
        "conv_rank": int(_number(given, "conv_dim", rank)) or rank,
        "conv_alpha": _number(given, "conv_alpha", alpha) or alpha,
        "lokr_factor": int(_number(given, "factor", -1)),
        "dora": dora,
        "rank_stabilised": _switch(given, "rs_lora", False),
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


def _switch(given: Mapping[str, str], name: str, default: bool) -> bool:
    text = given.get(name, str(default)).lower()
    if text not in (*_YES, *_NO):
        raise ValueError(f"network_args {name} is {given[name]!r}; it must be True or False")
    return text in _YES
