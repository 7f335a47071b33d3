"""What the file of a changed LoRA says of itself, so that nothing in it is of another LoRA."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ...base.small_file import parse_json
from ..lora_files.file import GRAPH_KEYS
from ..lora_files.metadata import VERSION
from .factors import Factors

MADE = "lora_loop.made"
"""How the LoRA was made from another; one line for each time, the last at the end."""
TRIGGER = "modelspec.trigger_phrase"

_SHAPES = {
    "conv_dim", "conv_alpha", "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas",
    "rank_dropout",
}  # fmt: skip
"""kohya's network_args that say ranks and alphas."""
_OF_THE_FILE = (
    "sshs_model_hash",
    "sshs_legacy_hash",
    "modelspec.thumbnail",
    "modelspec.hash_sha256",
    "lora_loop.recommended_strength",
    "modelspec.usage_hint",
    *GRAPH_KEYS,
)
_OF_THE_MODEL = (
    "ss_base_model_version", "ss_v2", "ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash",
    "ss_zero_terminal_snr", "modelspec.sai_model_spec", "modelspec.architecture", "modelspec.implementation",
    "modelspec.prediction_type", "modelspec.resolution",
)  # fmt: skip
"""What several LoRAs may agree about."""
PLAIN = {
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_v2": "False",
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
    "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
}
"""Of a LoRA of SDXL that nobody trained."""


def retold(
    metadata: Mapping[str, str], how: str, layers: Mapping[str, Factors] | None = None
) -> dict[str, str]:
    """The metadata of a LoRA that was changed: how it was trained stays.

    layers: its new ones, where their ranks or alphas are others.
    """
    found = {key: value for key, value in metadata.items() if key not in _OF_THE_FILE}
    made = "\n".join([*([found[MADE]] if MADE in found else []), how])
    sizes = {} if layers is None else _sizes(layers, found.get("ss_network_args", ""))
    return found | sizes | {MADE: made}


def merged(
    those: Sequence[Mapping[str, str]], layers: Mapping[str, Factors], how: str
) -> dict[str, str]:
    """The metadata of a sum: what all agree about, and the trigger words of all."""
    first, *others = those
    found = {
        key: first[key]
        for key in _OF_THE_MODEL
        if key in first and all(other.get(key) == first[key] for other in others)
    }
    triggers = dict.fromkeys(one[TRIGGER] for one in those if one.get(TRIGGER))
    return {
        **found,
        **({TRIGGER: ", ".join(triggers)} if triggers else {}),
        "ss_network_module": "networks.lora",
        "modelspec.implementation_version": f"lora-loop/{VERSION}",
        **_sizes(layers, ""),
        MADE: how,
    }


def _sizes(layers: Mapping[str, Factors], arguments: str) -> dict[str, str]:
    """kohya's words for ranks and alphas; `Dynamic` where they are not all the same."""
    plain = [layer for layer in layers.values() if not layer.is_conv]
    convs = [layer for layer in layers.values() if layer.is_conv]
    found = {
        "ss_network_dim": _one({str(layer.rank) for layer in plain or convs}),
        "ss_network_alpha": _one({f"{layer.alpha:.6g}" for layer in plain or convs}),
    }
    said = {key: value for key, value in _parsed(arguments).items() if key not in _SHAPES}
    if convs:
        said["conv_dim"] = _one({str(layer.rank) for layer in convs})
        said["conv_alpha"] = _one({f"{layer.alpha:.6g}" for layer in convs})
    if said or arguments:
        found["ss_network_args"] = json.dumps(said)
    return found


def _one(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else "Dynamic"


def _parsed(arguments: str) -> dict[str, object]:
    try:
        found = parse_json(arguments or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
