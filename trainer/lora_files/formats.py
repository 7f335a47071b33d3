"""LoRA files of other programs in kohya's names, and kohya's in those of diffusers and peft.

Read: whatever ComfyUI reads of an SDXL LoRA, and what else is met (see trainer/lora_files/names.py).
Values are not changed, except for what is missing: a file without alphas is scaled by its adapter config,
or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..config.embedding import BUNDLED
from ..sdxl.unet_names import to_diffusers
from .architectures import by_metadata, by_names, by_width
from .embedding_file import bundled, without_embeddings
from .names import (
    ALPHA,
    DOWN,
    ENCODER_LAYER,
    FIRST_ENCODER,
    SECOND_ENCODER,
    UNET,
    Key,
    is_extra,
    read_key,
)
from .peft_config import DIFFUSERS_METADATA, AdapterConfig, Scales
from .shapes import malformed

__all__ = [
    "DIFFUSERS_METADATA", "AdapterConfig", "LoraFormat", "by_layer", "diffusers_path", "in_format",
    "to_diffusers_lora", "to_kohya",
]  # fmt: skip

log = logging.getLogger(__name__)

LoraFormat = Literal["kohya", "diffusers"]
"""What a LoRA can be written as."""

SHOWN = 3
"""So many keys stand for all in a message."""

_DIFFUSERS = {UNET: "unet.", FIRST_ENCODER: "text_encoder.", SECOND_ENCODER: "text_encoder_2."}


def to_kohya(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    config: AdapterConfig | None = None,
) -> dict[str, Tensor]:
    """The same LoRA under kohya's keys, each layer with an alpha.

    ``metadata`` is the file's; ``config`` is peft's adapter_config.json, where the file has one beside
    it. A key that is kohya's already stays as it is, whatever kind of adapter it belongs to. Bundled
    embeddings and keys of no model are left out, and the log names them.

    Raises:
        ValueError: keys are of no layer of SDXL, or of another form; names some, and the architecture
            where it is known. Or a tensor has a shape that no adapter has.
    """
    keys = {name: read_key(name) for name in tensors}
    extra = [name for name, key in keys.items() if not key.is_known and is_extra(name)]
    keys = {name: key for name, key in keys.items() if name not in set(extra)}
    unknown = [name for name, key in keys.items() if not key.is_known]
    if tensors and not without_embeddings(tensors):
        raise ValueError(
            "This is an embedding alone and no SDXL LoRA: Save Embedding writes it, and a prompt that names it "
            "uses it."
        )
    if unknown or not keys:
        raise ValueError(_refusal(unknown, extra, len(tensors), metadata or {}))
    found = _renamed(tensors, keys)
    layers = by_layer(found)
    _check_parts(layers)
    other = by_width(layers)
    if other is not None:
        raise ValueError(
            f"This LoRA is for {other}, by the width of its text: it is no SDXL LoRA, whatever its keys "
            "are called. Choose one that was trained on SDXL."
        )
    _add_alphas(found, keys.values(), Scales(metadata or {}, config))
    _tell(extra, keys)
    return found


def by_layer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors of kohya's keys: parts by their names, by stem."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        stem, _, part = name.partition(".")
        layers.setdefault(stem, {})[part] = tensor
    return layers


def _renamed(tensors: Mapping[str, Tensor], keys: Mapping[str, Key]) -> dict[str, Tensor]:
    """Under kohya's keys. Raises ValueError where two keys mean the same."""
    names: dict[str, str] = {}
    found: dict[str, Tensor] = {}
    for name, key in keys.items():
        ours = f"{key.stem}.{key.part}"
        if ours in found:
            raise ValueError(
                f"{names[ours]} and {name} are the same part of the same layer: the file holds more than "
                "one adapter. Save the one that is wanted in a file of its own."
            )
        names[ours] = name
        found[ours] = _as_column(tensors[name]) if key.is_peft else tensors[name]
    return found


def _check_parts(layers: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Refuse tensors of shapes that no adapter has."""
    for stem, parts in layers.items():
        odd = malformed(parts)
        if odd is not None:
            raise ValueError(
                f"This LoRA cannot be read: {stem} has {odd}. The file is damaged, or of a program that "
                "writes it in another way: take another copy, or save it again with that program."
            )


def _as_column(magnitude: Tensor) -> Tensor:
    """peft's lengths of rows, [out] or [1, out, 1, 1], in the shape that says so: [out, 1(, 1, 1)]."""
    axes = max(magnitude.dim() - 1, 1)
    return magnitude.reshape(-1, *[1] * axes)


def _add_alphas(found: dict[str, Tensor], keys: Iterable[Key], scales: Scales) -> None:
    for stem, path in {key.stem: key.path for key in keys}.items():
        down = found.get(f"{stem}.{DOWN}")
        if down is not None and f"{stem}.{ALPHA}" not in found:
            component = next(prefix for prefix in _DIFFUSERS if stem.startswith(prefix))
            alpha = scales.alpha(component, path, down.shape[0])
            found[f"{stem}.{ALPHA}"] = torch.tensor(alpha)


def _refusal(
    unknown: Sequence[str], extra: Sequence[str], count: int, metadata: Mapping[str, str]
) -> str:
    whose = [f"They are of {other}. " for other in [by_names(unknown)] if other]
    whose += [f"The metadata say {said}. " for said in [by_metadata(metadata)] if said]
    return (
        f"{len(unknown) or len(extra)} of {count} keys are of no SDXL LoRA that can be read, e.g. "
        f"{sorted(unknown or extra)[:SHOWN]}. {''.join(whose)}Known are the names of kohya, LyCORIS, "
        "OneTrainer, ComfyUI, diffusers and peft; take a LoRA that fits SDXL."
    )


def _tell(extra: Sequence[str], keys: Mapping[str, Key]) -> None:
    words = sorted(bundled(dict.fromkeys(extra, torch.empty(0))))
    others = sorted(name for name in extra if not name.startswith(BUNDLED))
    if words:
        log.warning(
            "LoRA Loop: the embedding %s that is bundled with the LoRA is no part of the model and left out; Save "
            "Embedding writes the one that a LoRA carries.",
            _some(words),
        )
    if others:
        log.warning(
            "LoRA Loop: %d keys of the LoRA are of no model and are left out: %s",
            len(others), _some(others),
        )  # fmt: skip
    if any(key.is_peft for key in keys.values()):
        log.warning(
            "LoRA Loop: this is a DoRA of peft, which scales rows. LyCORIS reads that as peft does; "
            "ComfyUI divides by the lengths of the rows before the change, so it gives a little more or "
            "less."
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def in_format(tensors: Mapping[str, Tensor], form: LoraFormat) -> Mapping[str, Tensor]:
    """A LoRA of any keys in the form wanted. Raises ValueError where that form is not possible."""
    ours = to_kohya(tensors, getattr(tensors, "metadata", None))
    return to_diffusers_lora(ours) if form == "diffusers" else ours


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
        path = diffusers_path(stem)
        if part == "lora_down.weight":
            found[f"{path}.lora_A.weight"] = tensor
        else:
            rank = tensor.shape[1]
            alpha = float(tensors[f"{stem}.alpha"]) if f"{stem}.alpha" in tensors else rank
            # torch cannot multiply numbers of 8 bits
            wide = tensor.float() if tensor.dtype.itemsize == 1 else tensor
            found[f"{path}.lora_B.weight"] = wide * (alpha / rank)
    return found


def diffusers_path(stem: str) -> str:
    """A kohya stem as diffusers' path with its component."""
    for prefix, component in _DIFFUSERS.items():
        layer = stem.removeprefix(prefix)
        if layer == stem:
            continue
        if prefix == UNET:
            return component + to_diffusers(layer)
        found = ENCODER_LAYER.fullmatch(layer)
        if found is not None:
            return f"{component}text_model.encoder.layers.{found[1]}.{found[2]}.{found[3]}"
    raise ValueError(f"{stem} is no layer that has a name in diffusers.")
