"""LoRA files of other programs in kohya's names, and kohya's in those of diffusers and peft.

Read: kohya (the checkpoint's layer names, and diffusers' ones), peft (`base_model.model.`), diffusers
(`unet.`, `text_encoder.`, `text_encoder_2.`) with `lora_A`, `lora.down`, `lora_linear_layer` and the old
attention processors. Values are not changed, except for what is missing: a file without alphas is scaled
by its adapter config, or not at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ...base.small_file import parse_json
from ..sdxl.unet_names import from_diffusers, is_checkpoint_name, to_diffusers

LoraFormat = Literal["kohya", "diffusers"]
"""What a LoRA can be written as."""

AdapterConfig = Mapping[str, Any]
"""What peft writes of an adapter: `r`, `lora_alpha`, `use_rslora`, `alpha_pattern`."""

UNET, FIRST_ENCODER, SECOND_ENCODER = "lora_unet_", "lora_te1_", "lora_te2_"
DIFFUSERS_METADATA = "lora_adapter_metadata"
"""Where diffusers writes the adapter configs of a file, as JSON with `unet.` and the like before keys."""

_PREFIXES = {
    "base_model.model.": "",  # peft's, before any other
    "unet.": UNET,
    "diffusion_model.": UNET,
    "text_encoder_2.": SECOND_ENCODER,
    "text_encoder.": FIRST_ENCODER,
}
_DIFFUSERS = {UNET: "unet.", FIRST_ENCODER: "text_encoder.", SECOND_ENCODER: "text_encoder_2."}

_PARTS = {
    "lora_down.weight": r"\.lora_down\.weight|\.lora_A(\.\w+)?\.weight|(\.|_)lora\.down\.weight|"
    r"\.lora_linear_layer\.down\.weight",
    "lora_up.weight": r"\.lora_up\.weight|\.lora_B(\.\w+)?\.weight|(\.|_)lora\.up\.weight|"
    r"\.lora_linear_layer\.up\.weight",
    "alpha": r"\.alpha",
}
"""kohya's name of a part -> how a key with that part ends."""
_ENDINGS = {part: re.compile(f"(?:{ending})$") for part, ending in _PARTS.items()}
_OLD_PROCESSOR = re.compile(r"\.processor\.(to_[qkv]|to_out)$")
_OLD_ENCODER = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_ENCODER_LAYER = re.compile(r"text_model_encoder_layers_(\d+)_(self_attn|mlp)_(\w+)")


def to_kohya(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    config: AdapterConfig | None = None,
) -> dict[str, Tensor]:
    """The same LoRA under kohya's keys, each layer with an alpha.

    ``metadata`` is the file's; ``config`` is peft's adapter_config.json, where the file has one beside
    it. A key that is kohya's already stays as it is, whatever kind of adapter it belongs to.

    Raises:
        ValueError: keys are of no layer of SDXL, or of another form; names some.
    """
    found: dict[str, Tensor] = {}
    unknown: list[str] = []
    paths: dict[str, str] = {}
    for name, tensor in tensors.items():
        stem, part, path = _read(name)
        if stem is None:
            unknown.append(name)
        else:
            found[f"{stem}.{part}"] = tensor
            paths[stem] = path
    if unknown or not found:
        raise ValueError(
            f"{len(unknown)} of {len(tensors)} keys are of no SDXL LoRA that can be read, e.g. "
            f"{sorted(unknown)[:3]}. Known are the names of kohya, diffusers and peft."
        )
    configs = _configs(metadata or {}, config)
    for stem, path in paths.items():
        down = found.get(f"{stem}.lora_down.weight")
        if down is not None and f"{stem}.alpha" not in found:
            found[f"{stem}.alpha"] = torch.tensor(_alpha(stem, path, down.shape[0], configs))
    return found


def in_format(tensors: Mapping[str, Tensor], form: LoraFormat) -> Mapping[str, Tensor]:
    """A LoRA of kohya's keys in the form wanted. Raises ValueError where that form is not possible."""
    return to_diffusers_lora(tensors) if form == "diffusers" else tensors


def to_diffusers_lora(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A LoRA of kohya's keys as diffusers and peft name it: `unet.….lora_A.weight` and `lora_B`.

    Such files have no alphas: the up factors are multiplied by alpha / rank, so that every reader
    scales the same. That holds for rsLoRA too, whose alpha says its scale.

    Raises:
        ValueError: an adapter is of another kind than LoRA, or of a layer without a name in diffusers.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in sorted(tensors.items()):
        stem, _, part = name.partition(".")
        if part == "alpha":
            continue
        if part not in ("lora_down.weight", "lora_up.weight"):
            raise ValueError(
                f"{name} is of another kind than plain LoRA, which files for diffusers cannot hold: "
                "save it in kohya's format."
            )
        path = _diffusers_path(stem)
        if part == "lora_down.weight":
            found[f"{path}.lora_A.weight"] = tensor
        else:
            rank = tensor.shape[1]
            alpha = float(tensors[f"{stem}.alpha"]) if f"{stem}.alpha" in tensors else rank
            found[f"{path}.lora_B.weight"] = tensor * (alpha / rank)
    return found


def _read(name: str) -> tuple[str | None, str, str]:
    """A key as (kohya's stem or None, part, the file's own path of the layer)."""
    stem, _, part = name.partition(".")
    if stem.startswith((FIRST_ENCODER, SECOND_ENCODER)):
        return stem, part, stem
    if stem.startswith(UNET):
        layer = stem.removeprefix(UNET)
        ours = layer if is_checkpoint_name(layer) else from_diffusers(layer)
        return (None if ours is None else UNET + ours), part, stem
    part = next((part for part, end in _ENDINGS.items() if end.search(name)), "")
    path = _ENDINGS[part].sub("", name) if part else name
    component, layer = "", path
    for prefix, meaning in _PREFIXES.items():
        if layer.startswith(prefix):
            component, layer = meaning or component, layer.removeprefix(prefix)
    if not part:
        return None, part, path
    if component in (FIRST_ENCODER, SECOND_ENCODER):
        return _encoder_stem(component, layer), part, path
    layer = _OLD_PROCESSOR.sub(lambda m: f".{m[1]}{'.0' if m[1] == 'to_out' else ''}", layer)
    plain = layer.replace(".", "_")
    ours = plain if is_checkpoint_name(plain) else from_diffusers(layer)
    return (None if ours is None else UNET + ours), part, path


def _encoder_stem(component: str, layer: str) -> str | None:
    head, _, last = layer.rpartition(".")
    layer = f"{head}.{_OLD_ENCODER.get(last, last)}".replace(".", "_")
    if not layer.startswith("text_model_"):
        layer = f"text_model_{layer}"  # the newest transformers leave it out
    return component + layer if _ENCODER_LAYER.fullmatch(layer) else None


def _diffusers_path(stem: str) -> str:
    """A kohya stem as diffusers' path with its component."""
    for prefix, component in _DIFFUSERS.items():
        layer = stem.removeprefix(prefix)
        if layer == stem:
            continue
        if prefix == UNET:
            return component + to_diffusers(layer)
        found = _ENCODER_LAYER.fullmatch(layer)
        if found is not None:
            return f"{component}text_model.encoder.layers.{found[1]}.{found[2]}.{found[3]}"
    raise ValueError(f"{stem} is no layer that has a name in diffusers.")


def _configs(metadata: Mapping[str, str], config: AdapterConfig | None) -> dict[str, AdapterConfig]:
    """Adapter configs by component; under "" what holds for all. Raises ValueError for broken JSON."""
    found: dict[str, dict[str, Any]] = {"": dict(config or {})}
    values = parse_json(metadata.get(DIFFUSERS_METADATA, "{}"))
    if isinstance(values, dict):
        for name, value in values.items():
            component, _, key = name.partition(".")
            found.setdefault(_PREFIXES.get(f"{component}.", ""), {})[key] = value
    return dict(found)


def _alpha(stem: str, path: str, rank: int, configs: Mapping[str, AdapterConfig]) -> float:
    """What scales a layer whose file has no alpha for it: the config's alpha, else the rank, that is 1."""
    prefix = next(p for p in _DIFFUSERS if stem.startswith(p))
    config = configs.get(prefix) or configs[""]
    alpha = config.get("lora_alpha") or rank
    for name, own in (config.get("alpha_pattern") or {}).items():
        name = name.removeprefix("^")
        if path == name or path.endswith(f".{name}"):
            alpha = own
    return float(alpha) * (math.sqrt(rank) if config.get("use_rslora") else 1.0)
