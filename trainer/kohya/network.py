"""kohya's network_module and network_args as the settings of the adapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..config.lora import ORTHOGONAL
from ..sdxl.blocks import parse_alphas, parse_ranks, rate_weights
from .network_tables import (
    ALGORITHMS,
    ARGUMENTS,
    CONSTRAINT,
    FRONT_END,
    LORA,
    LYCORIS,
    MEANINGLESS,
    NATIVE,
    NEEDS_BLOCKS,
    OFF,
    OFT,
    OTHER_ALGORITHMS,
    OTHER_MODULES,
    PLUS,
    PRESETS,
    WEIGHTS,
    Preset,
)
from .unheard import meant

_TEXT_IS_YES = "decompose_both"
"""LyCORIS takes any text for yes here, False as well."""
_SPLITS_BELOW = 40
"""From this rank on LyCORIS' decompose_both changes no layer of SDXL, at the usual factor."""
_ZERO = ("", "none", "0", "0.0")


def network_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The LoraConfig fields that network arguments decide together.

    Raises:
        ValueError: the network module or an argument of it is unknown, or has a wrong value.
    """
    module = values["network_module"]
    if module not in FRONT_END:
        why = f" ({OTHER_MODULES[module]})" if module in OTHER_MODULES else ""
        known = ", ".join(FRONT_END)
        raise ValueError(f"network_module is {module!r}; it must be one of {known}{why}")
    kind = values["LoRA_type"]
    if kind and not kind.startswith(FRONT_END[module]):
        raise ValueError(f"LoRA_type {kind!r} contradicts network_module {module}; take one away")
    given = _arguments(values["network_args"])
    _check(given, module)
    alpha = values["network_alpha"] or float(values["network_dim"])
    if module == OFT:
        return {"alpha": alpha, **_oft(given, values)}
    shared = {
        "alpha": alpha,
        "rank_dropout": _number(given, "rank_dropout", 0.0),
        "module_dropout": _number(given, "module_dropout", 0.0),
    }
    if module in NATIVE:
        return {**shared, "dropout": 0.0, **_native(given, values)}
    dropout = _number(given, "dropout", values["network_dropout"])
    own = _lora(given, values) if module == LORA else _lycoris(given, values, alpha)
    return {**shared, "dropout": dropout, **own}


def leaves_text(values: Mapping[str, Any]) -> bool:
    """Whether the network has no adapters in the text encoders, whatever their learning rates."""
    module, given = values["network_module"], _arguments(values["network_args"])
    return module == OFT or (module == LYCORIS and not _preset(given).text)


def ignored_arguments(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """network_args that have no effect, here as in kohya, and why."""
    module, given = values["network_module"], _arguments(values["network_args"])
    for name, value in given.items():
        if name in ARGUMENTS[module] or _counts(name, given, module):
            continue
        if name in OFF.get(module, ()):
            yield f"network_args {name}", f"{value} changes nothing"
        else:
            yield f"network_args {name}", f"{module} takes no notice of it"
    if values["network_dropout"] and (module in NATIVE or module == OFT):
        yield "network_dropout", f"{module} takes no notice of it"


def _counts(name: str, given: Mapping[str, str], module: str) -> bool:
    """Whether an option of LyCORIS means something to the algorithm at hand."""
    if module != LYCORIS:
        return False
    kind = _algorithm(given)
    return (name in PLUS and kind == "lora") or (name in CONSTRAINT and kind in ORTHOGONAL)


def network_differences(values: Mapping[str, Any]) -> Iterator[str]:
    """What a network_args means to LyCORIS and not here."""
    given = _arguments(values["network_args"])
    if (
        values["network_module"] == LYCORIS
        and _algorithm(given) == "lokr"
        and _TEXT_IS_YES in given
        and not _whole(given)
        and values["network_dim"] < _SPLITS_BELOW
    ):
        yield (
            f"network_args {_TEXT_IS_YES}={given[_TEXT_IS_YES]} leaves the first matrix whole; LyCORIS takes "
            "any text there for yes, and divides it where the rank is below half its size"
        )
    for name in ("enable_all_linear", "enable_conv"):
        if values["network_module"] == OFT and given.get(name, "").lower() == "false":
            yield f"network_args {name}=False is off; kohya takes any text there for yes"


def _check(given: Mapping[str, str], module: str) -> None:
    """Refuse slips, and options that are on and not supported."""
    off = OFF.get(module, {})
    known = ARGUMENTS[module] | off.keys() | MEANINGLESS.get(module, set())
    for name, value in given.items():
        if name not in known and meant(name, known):
            shown = ", ".join(sorted(ARGUMENTS[module]))
            raise ValueError(f"network_args has {name}; of {module} are understood {shown}")
        if (
            name in off and value.lower() != "false"
        ):  # to LyCORIS a switch is on whatever else it is
            raise ValueError(
                f"network_args {name}={value}: {off[name]}; write {name}=False or remove it"
            )


def _algorithm(given: Mapping[str, str]) -> str:
    return ALGORITHMS.get(given.get("algo", "lora").lower(), "")


def _preset(given: Mapping[str, str]) -> Preset:
    name = given.get("preset", "full")
    if name not in PRESETS:
        raise ValueError(f"network_args preset is {name!r}; it must be one of {', '.join(PRESETS)}")
    return PRESETS[name]


def _whole(given: Mapping[str, str]) -> bool:
    return _switch(given, "full_matrix", False)


def _lora(given: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    weights = [given.get(name, "") for name in WEIGHTS]
    loose = [name for name in NEEDS_BLOCKS if name in given]
    if loose and not ("block_dims" in given or any(weights)):
        raise ValueError(f"network_args {loose[0]} has no effect without block_dims; add them")
    conv_rank = int(_number(given, "conv_dim", 0))
    threshold = _number(given, "block_lr_zero_threshold", 0.0)
    return {
        "conv_rank": conv_rank,
        "conv_alpha": _number(given, "conv_alpha", 1.0) or float(conv_rank) or 1.0,
        "loraplus_ratio": _plus(given, values),
        "block_ranks": parse_ranks(given.get("block_dims", ""), "block_dims"),
        "block_alphas": parse_alphas(given.get("block_alphas", ""), "block_alphas"),
        "conv_block_ranks": parse_ranks(given.get("conv_block_dims", ""), "conv_block_dims"),
        "conv_block_alphas": parse_alphas(given.get("conv_block_alphas", ""), "conv_block_alphas"),
        "block_rates": rate_weights(weights[0], weights[1], weights[2], threshold),
    }


def _native(given: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """kohya's own LoHa and LoKr. Source: networks/loha.py, lokr.py and network_base.py."""
    kind, conv_rank = NATIVE[values["network_module"]], int(_number(given, "conv_dim", 0))
    return {
        "algorithm": kind,
        "conv_rank": conv_rank,
        "conv_alpha": _number(given, "conv_alpha", 1.0) or float(conv_rank) or 1.0,
        "lokr_factor": int(_number(given, "factor", -1)) if kind == "lokr" else -1,
        "loraplus_ratio": _plus(given, values),
    }


def _oft(given: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """kohya's own OFT, of the UNet alone: network_dim counts blocks. Source: networks/oft.py."""
    if not values["network_alpha"]:
        raise ValueError("network_alpha is 0, which lets networks.oft turn nothing; 0.001 is usual")
    everything, convs = (
        _switch(given, name, False) for name in ("enable_all_linear", "enable_conv")
    )
    return {
        "algorithm": "oft",
        "oft_blocks": values["network_dim"],
        "oft_constraint": values["network_alpha"],
        "dropout": 0.0,
        "layers": "standard" if everything else "attention",
        "conv_rank": values["network_dim"] if convs else 0,
    }


def _plus(given: Mapping[str, str], values: Mapping[str, Any]) -> float:
    """LoRA+'s ratio."""
    shared = _number(given, "loraplus_lr_ratio", 0.0)
    ratio = _number(given, "loraplus_unet_lr_ratio", shared)
    of_texts = _number(given, "loraplus_text_encoder_lr_ratio", shared)
    if of_texts != ratio and not values["network_train_unet_only"]:
        raise ValueError(
            f"network_args give LoRA+ ratios {ratio:g} for the UNet and {of_texts:g} for the text "
            "encoders; there is one for all here, loraplus_lr_ratio"
        )
    return ratio


def _lycoris(given: Mapping[str, str], values: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    """LyCORIS adapts convolutions unless told otherwise, at the rank of the rest."""
    rank, algorithm = values["network_dim"], _algorithm(given)
    if not algorithm:
        name = given["algo"].lower()
        why = f" ({OTHER_ALGORITHMS[name]})" if name in OTHER_ALGORITHMS else ""
        known = ", ".join(ALGORITHMS)
        raise ValueError(f"network_args algo is {given['algo']!r}; it must be one of {known}{why}")
    preset, dora = _preset(given), _switch(given, "dora_wd", False)
    if dora and _switch(given, "wd_on_output", True):
        raise ValueError(
            "network_args dora_wd scales columns here, as the paper does: add wd_on_output=False"
        )
    limits = [
        _number(given, name, 0.0) for name in CONSTRAINT if given.get(name, "").lower() not in _ZERO
    ]
    return {
        "algorithm": algorithm,
        "layers": preset.layers,
        "conv_rank": int(_number(given, "conv_dim", rank)) or rank if preset.convs else 0,
        "conv_alpha": _number(given, "conv_alpha", alpha) or alpha,
        "lokr_factor": int(_number(given, "factor", -1)) if algorithm == "lokr" else -1,
        "full_matrix": algorithm == "lokr" and _whole(given),
        "loraplus_ratio": _plus(given, values) if algorithm == "lora" else 0.0,
        "oft_constraint": max(limits, default=0.0) if algorithm in ORTHOGONAL else 0.0,
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
    if text not in ("true", "false"):
        raise ValueError(f"network_args {name} is {given[name]!r}; it must be True or False")
    return text == "true"
