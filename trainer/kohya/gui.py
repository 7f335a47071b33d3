"""Settings files of kohya_ss, the graphical front end of bmaltais: its JSON as arguments of kohya's trainer.

Source: `train_model` in `kohya_gui/lora_gui.py`, which writes them to a config toml when a training starts. There,
as here, "" stands for what is not set, and so does 0 where `_ZERO_IS_UNSET` says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from .arguments import HONOURED
from .network_tables import LORA, LYCORIS, NEEDS_BLOCKS, WEIGHTS
from .unused import IGNORED, REFUSED

OF_LORA = "LoRA_type"
"""What a file for LoRAs has, and none for DreamBooth, fine-tuning or textual inversion."""

_RENAMED = {
    "optimizer": "optimizer_type",
    "max_resolution": "resolution",
    "lora_network_weights": "network_weights",
    "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
    "sdxl_no_half_vae": "no_half_vae",
}
_LISTS = ("optimizer_args", "lr_scheduler_args")
_TRANSLATED = {
    OF_LORA, "LyCORIS_preset", "epoch", "lr_warmup", "additional_parameters", "noise_offset_type",
    *_RENAMED,
}  # fmt: skip
_ZERO_IS_UNSET = {
    "unet_lr", "text_encoder_lr", "max_train_steps", "max_train_epochs", "seed", "max_timestep",
    "min_timestep", "min_snr_gamma", "noise_offset", "adaptive_noise_scale", "ip_noise_gamma",
    "multires_noise_iterations", "v_pred_like_loss", "lr_warmup", "lr_warmup_steps", "learning_rate",
    "save_every_n_steps", "save_every_n_epochs", "save_last_n_steps", "save_last_n_epochs",
    "save_last_n_steps_state", "save_last_n_epochs_state", "sample_every_n_steps",
    "sample_every_n_epochs", "vae_batch_size", "clip_skip", "lr_scheduler_power",
}  # fmt: skip
_NOISES = {
    "Original": ("multires_noise_iterations", "multires_noise_discount"),
    "Multires": ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale"),
}
"""What each `noise_offset_type` leaves aside."""

_DROPOUTS = ("rank_dropout", "module_dropout")
_CONVOLUTIONS = ("conv_dim", "conv_alpha")
_PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
_BLOCKS = (*WEIGHTS, "block_lr_zero_threshold", "block_dims", *NEEDS_BLOCKS)
_SWITCHES = (
    "use_tucker", "use_cp", "use_scalar", "dora_wd", "bypass_mode", "train_norm", "decompose_both",
    "rank_dropout_scale", "rescaled",
)  # fmt: skip
_LYCORIS = {
    "LoCon": "locon", "LoHa": "loha", "LoKr": "lokr", "BOFT": "boft", "Diag-OFT": "diag-oft",
    "DyLoRA": "dylora", "GLoRA": "glora", "iA3": "ia3", "Native Fine-Tuning": "full",
}  # fmt: skip
_ON_LYCORIS = {
    "locon": set(_SWITCHES) - {"use_cp", "decompose_both", "rescaled"},
    "loha": set(_SWITCHES) - {"use_cp", "decompose_both", "rescaled"},
    "lokr": set(_SWITCHES) - {"use_tucker", "rescaled"},
    "boft": {"use_tucker", "rank_dropout_scale", "train_norm"},
    "diag-oft": {"use_tucker", "rank_dropout_scale", "train_norm", "rescaled"},
}
"""The switches that the front end hands on to each algorithm; others stay where they are."""
_OTHER_MODELS = ("flux1_checkbox", "sd3_checkbox", "hunyuan_image_checkbox", "anima_checkbox", "lumina_checkbox")  # fmt: skip


def is_settings_file(data: Any) -> bool:
    """Whether a JSON value is a settings file of kohya_ss for LoRAs."""
    return isinstance(data, Mapping) and OF_LORA in data


def gui_arguments(data: Mapping[str, Any], name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Arguments of kohya's trainer, and the names of what is set and that none of them stands for.

    Raises:
        ValueError: it is for another model than SDXL, or for an adapter that has no module here.
    """
    for other in _OTHER_MODELS:
        if data.get(other) is True:
            raise ValueError(f"{name} is for another model than SDXL: {other} is on in kohya_ss.")
    given = {key: value for key, value in data.items() if _is_set(key, value)}
    for key in _NOISES.get(str(given.get("noise_offset_type", "Original")), ()):
        given.pop(key, None)
    found = {
        key: _read(key, value)
        for old, value in given.items()
        if old not in _TRANSLATED - _RENAMED.keys()
        and (key := _RENAMED.get(old, old)) in HONOURED.keys() | IGNORED.keys() | REFUSED.keys()
    }
    module, options = _network(given, name)
    found |= {"network_module": module, "network_args": list(options)}
    found |= _lengths(given) | _trained(given)
    used = _TRANSLATED | _CONVOLUTIONS_AND_MORE | found.keys()
    for key, value in _words(str(given.get("additional_parameters", ""))):
        found[key] = value
    return found, tuple(key for key, value in given.items() if value and key not in used)


_CONVOLUTIONS_AND_MORE = {
    *_CONVOLUTIONS, *_DROPOUTS, *_PLUS, *_BLOCKS, *_SWITCHES, "factor", "constrain", "unit",
}  # fmt: skip
"""What goes into network_args, where the kind of LoRA has it."""


def _is_set(key: str, value: Any) -> bool:
    if value is None or value == "" or value == []:
        return False
    number = _number(value)
    return not (key in _ZERO_IS_UNSET | set(_PLUS) and number == 0)


def _number(value: Any) -> int | float | None:
    """A number, also one that a text field holds; whole where it is."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return int(found) if found.is_integer() and "e" not in str(value) else found


def _read(key: str, value: Any) -> Any:
    """A value as a toml would have it: numbers stand in text fields here. What is odd stays, and is told later."""
    if key in _LISTS:
        return str(value).replace('"', "").split()
    kind = HONOURED[key].kind if key in HONOURED else ""
    if kind in ("whole number", "number", "length", "number or list"):
        number = _number(value)
        return value if number is None else number
    if kind == "switch" and value in (0, 1):
        return bool(value)
    return value


def _network(given: Mapping[str, Any], name: str) -> tuple[str, Iterator[str]]:
    """network_module and network_args of a LoRA_type."""
    kind = str(given.get(OF_LORA))
    algorithm = _LYCORIS.get("LoCon" if kind == "LoCon" else kind.removeprefix("LyCORIS/"))
    if algorithm and (kind == "LoCon" or kind.startswith("LyCORIS/")):
        return LYCORIS, _of_lycoris(given, algorithm)
    if kind in ("Standard", "Kohya LoCon"):
        more = _CONVOLUTIONS if kind == "Kohya LoCon" else ()
        return LORA, _options(given, (*_BLOCKS, *_DROPOUTS, *_PLUS), more)
    if kind in ("Kohya LoHa", "Kohya LoKr"):
        convolutions = _CONVOLUTIONS if _number(given.get("conv_dim")) else ()
        factor = ("factor",) if kind == "Kohya LoKr" else ()
        options = ("use_tucker", *_DROPOUTS, *_PLUS)
        return f"networks.{kind[-4:].lower()}", _options(given, options, (*convolutions, *factor))
    raise ValueError(
        f"{name}: LoRA_type is {kind!r}, which cannot be trained here; choose Standard, Kohya LoCon, Kohya "
        "LoHa, Kohya LoKr or one of LyCORIS in kohya_ss, or set the same in LoRA Settings."
    )


def _of_lycoris(given: Mapping[str, Any], algorithm: str) -> Iterator[str]:
    yield f"algo={algorithm}"
    yield f"preset={given.get('LyCORIS_preset', 'full')}"
    if algorithm == "lokr":
        yield f"factor={given.get('factor', -1)}"
    if algorithm == "diag-oft" and _number(given.get("constrain")):
        yield f"constraint={given['constrain']}"
    switches = [switch for switch in _SWITCHES if switch in _ON_LYCORIS.get(algorithm, ())]
    yield from _options(given, (*switches, *_DROPOUTS, *_PLUS), _CONVOLUTIONS)


def _options(
    given: Mapping[str, Any], where_set: tuple[str, ...], always: tuple[str, ...]
) -> Iterator[str]:
    for key in (*always, *where_set):
        value = given.get(key)
        off = key in where_set and (value is False or _number(value) == 0)
        if value is not None and not off:
            yield f"{key}={str(value).replace(' ', '')}"


def _lengths(given: Mapping[str, Any]) -> dict[str, Any]:
    """How long: `epoch` counts unless steps are set; the warm-up is a percentage; cycles are `epoch` by default."""
    found: dict[str, Any] = {}
    epochs = _number(given.get("epoch"))
    is_free = not given.keys() & {"max_train_steps", "max_train_epochs", "dataset_config"}
    if epochs and is_free:
        found["max_train_epochs"] = epochs
    if epochs and "lr_scheduler_num_cycles" not in given:
        found["lr_scheduler_num_cycles"] = epochs
    share = _number(given.get("lr_warmup"))
    if share and "lr_warmup_steps" not in given:
        found["lr_warmup_steps"] = f"{share}%"
    return found


def _trained(given: Mapping[str, Any]) -> dict[str, Any]:
    """A rate of 0 leaves its part out; both at 0 train all at learning_rate."""
    unet, texts = "unet_lr" in given, "text_encoder_lr" in given
    if unet == texts:
        return {}
    return {"network_train_unet_only" if unet else "network_train_text_encoder_only": True}


def _words(line: str) -> Iterator[tuple[str, Any]]:
    """Further words of the command line, which have the last word there."""
    try:
        words = shlex.split(line)
    except ValueError:
        raise ValueError(
            f"additional_parameters has a quote that does not end: {line[:80]!r}."
        ) from None
    name, values = "", []
    for word in [*words, "--"]:
        if not word.startswith("--"):
            values.append(word)
            continue
        if name:
            is_list = HONOURED[name].kind == "list of texts" if name in HONOURED else False
            one = values[0] if len(values) == 1 else values
            yield name, values if is_list else _read(name, one) if values else True
        name, _, value = word[2:].partition("=")
        values = [value] if value else []
