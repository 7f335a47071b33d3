"""kohya's network_module and network_args as the settings of the adapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..sdxl.blocks import parse_alphas, parse_ranks, rate_weights
from .unheard import meant

LORA, LYCORIS = "networks.lora", "lycoris.kohya"
"""The network modules that can be trained."""

FRONT_END = {LORA: ("Standard", "Kohya LoCon"), LYCORIS: ("LyCORIS/", "LoCon")}
"""How the LoRA_type of kohya's graphical front end begins for each."""

_OWN = (
    "sd-scripts' own adapter takes other layers than LyCORIS: the attention blocks, and convolutions only "
    "with conv_dim; that choice of layers cannot be trained here. The nearest is network_module = "
    '"lycoris.kohya" with network_args algo={}'
)
_OTHER_MODULES = {
    "networks.loha": _OWN.format("loha"),
    "networks.lokr": _OWN.format("lokr"),
    "networks.dylora": "DyLoRA cannot be trained here; networks.lora is a LoRA of one rank",
    "networks.lora_fa": "LoRA-FA cannot be trained here; networks.lora trains both factors",
    "networks.oft": "OFT cannot be trained here",
}
"""Network modules for SDXL that are known and cannot be trained, and why."""

_WEIGHTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
_NEEDS_BLOCKS = ("block_alphas", "conv_block_dims", "conv_block_alphas")
_SHARED = ("conv_dim", "conv_alpha", "dropout", "rank_dropout", "module_dropout")
_ARGUMENTS = {
    LORA: {
        *_SHARED, *_NEEDS_BLOCKS, *_WEIGHTS, "block_dims", "block_lr_zero_threshold",
        "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio",
    },
    LYCORIS: {
        *_SHARED, "algo", "factor", "dora_wd", "wd_on_output", "rs_lora", "preset", "full_matrix",
    },
}  # fmt: skip
_PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
_OFF = {
    "use_scalar": "a trained scalar in front of each adapter is not supported",
    "train_norm": "norms cannot be trained",
    "use_cp": "the Tucker form of convolutions is not supported",
    "use_conv_cp": "the Tucker form of convolutions is not supported",
    "use_tucker": "the Tucker form of convolutions is not supported",
    "decompose_both": "the first matrix of LoKr always stays whole",
    "unbalanced_factorization": "LoKr always divides width and depth alike",
    "rank_dropout_scale": "what rank dropout leaves is not scaled up",
    "bypass_mode": "the way of computing is chosen for each adapter",
    "rescaled": "OFT cannot be trained here",
    "constraint": "OFT cannot be trained here",
    "constrain": "OFT cannot be trained here",
    "train_t5xxl": "SDXL has no such text encoder",
    "train_llm_adapter": "SDXL has no such adapter",
}
"""Options of LyCORIS that must be off, and why."""
_MEANINGLESS = ("block_size", "unit", "train_on_input", "disable_conv_cp")
"""Options of LyCORIS that mean something to algorithms alone that cannot be trained, or nothing."""
_TEXT_IS_YES = "decompose_both"
"""LyCORIS takes any text for yes here, False as well."""
_SPLITS_BELOW = 40
"""From this rank on LyCORIS' decompose_both changes no layer of SDXL, at the usual factor."""
_ALGORITHMS = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr"}
_ZERO = ("", "none", "0", "0.0")


def network_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The LoraConfig fields that network arguments decide together.

    Raises:
        ValueError: the network module or an argument of it is unknown, or has a wrong value.
    """
    module = values["network_module"]
    if module not in FRONT_END:
        why = f" ({_OTHER_MODULES[module]})" if module in _OTHER_MODULES else ""
        raise ValueError(
            f"network_module is {module!r}; {LORA} and {LYCORIS} can be trained, choose one of them"
            + why
        )
    kind = values["LoRA_type"]
    if kind and not kind.startswith(FRONT_END[module]):
        raise ValueError(f"LoRA_type {kind!r} contradicts network_module {module}; take one away")
    given = _arguments(values["network_args"])
    _check(given, module)
    alpha = values["network_alpha"] or float(values["network_dim"])
    return {
        "alpha": alpha,
        "dropout": _number(given, "dropout", values["network_dropout"]),
        "rank_dropout": _number(given, "rank_dropout", 0.0),
        "module_dropout": _number(given, "module_dropout", 0.0),
        **(_lora(given, values) if module == LORA else _lycoris(given, values, alpha)),
    }


def ignored_arguments(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """network_args that have no effect, here as in kohya, and why."""
    module, given = values["network_module"], _arguments(values["network_args"])
    for name, value in given.items():
        if name in _ARGUMENTS[module] or (name in _PLUS and _algorithm(given) == "lora"):
            continue
        if module == LYCORIS and name in _OFF:
            yield f"network_args {name}", f"{value} changes nothing"
        else:
            yield f"network_args {name}", f"{module} takes no notice of it"


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


def _check(given: Mapping[str, str], module: str) -> None:
    """Refuse slips, and options of LyCORIS that are on and not supported."""
    known = _ARGUMENTS[module] | (
        _OFF.keys() | {*_MEANINGLESS, *_PLUS} if module == LYCORIS else set()
    )
    for name, value in given.items():
        if name not in known and meant(name, known):
            shown = ", ".join(sorted(_ARGUMENTS[module]))
            raise ValueError(f"network_args has {name}; of {module} are understood {shown}")
        if module == LYCORIS and name in _OFF and not _is_off(name, value):
            raise ValueError(
                f"network_args {name}={value}: {_OFF[name]}; write {name}=False or remove it"
            )


def _is_off(name: str, value: str) -> bool:
    """Whether an option is off in LyCORIS, to which a switch is on whatever it is but False."""
    return value.lower() == "false" or (
        name in ("constraint", "constrain") and value.lower() in _ZERO
    )


def _algorithm(given: Mapping[str, str]) -> str:
    return _ALGORITHMS.get(given.get("algo", "lora").lower(), "")


def _whole(given: Mapping[str, str]) -> bool:
    return _switch(given, "full_matrix", False)


def _lora(given: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    weights = [given.get(name, "") for name in _WEIGHTS]
    loose = [name for name in _NEEDS_BLOCKS if name in given]
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
    rank, preset = values["network_dim"], given.get("preset", "full")
    algorithm = _algorithm(given)
    if not algorithm:
        known = ", ".join(_ALGORITHMS)
        raise ValueError(f"network_args algo is {given['algo']!r}; it must be one of {known}")
    if preset != "full":
        raise ValueError(f"network_args preset is {preset!r}; only full is understood")
    dora = _switch(given, "dora_wd", False)
    if dora and _switch(given, "wd_on_output", True):
        raise ValueError(
            "network_args dora_wd scales columns here, as the paper does: add wd_on_output=False"
        )
    return {
        "algorithm": algorithm,
        "conv_rank": int(_number(given, "conv_dim", rank)) or rank,
        "conv_alpha": _number(given, "conv_alpha", alpha) or alpha,
        "lokr_factor": int(_number(given, "factor", -1)) if algorithm == "lokr" else -1,
        "full_matrix": algorithm == "lokr" and _whole(given),
        "loraplus_ratio": _plus(given, values) if algorithm == "lora" else 0.0,
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
