"""A LoRA in memory applied to a MODEL and CLIP."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

import comfy.sd
import torch
from torch import Tensor

from ....trainer.lora_files.embedding_file import without_embeddings
from ....trainer.lora_files.formats import by_layer, to_kohya
from ....trainer.lora_files.names import ALPHA, FIRST_ENCODER, SECOND_ENCODER, UNET
from ....trainer.lora_files.shapes import misfit, missing_parts
from ..model.host_types import Clip, ModelPatcher, Stateful

log = logging.getLogger(__name__)

MaybeClip = TypeVar("MaybeClip", bound="Clip | None")
"""CLIP, or None where it is not connected."""

_WEIGHT = ".weight"
_ENCODERS = {"clip_l.transformer.": FIRST_ENCODER, "clip_g.transformer.": SECOND_ENCODER}
"""Where the text encoders of SDXL lie in its CLIP -> kohya's prefix."""


class _Layer(NamedTuple):
    name: str
    """By which ComfyUI's loader knows the layer without any table: its own path."""
    shape: tuple[int, ...]


def apply_lora(
    model: ModelPatcher, clip: MaybeClip, lora: Mapping[str, Tensor], strength: float
) -> tuple[ModelPatcher, MaybeClip]:
    """MODEL and CLIP with the LoRA; strength 0 gives them back untouched, and so does an
    embedding without a LoRA.

    Takes ours, ComfyUI's own LORA_MODEL and whatever `to_kohya` reads. The layers go to ComfyUI's loader
    under their own paths, so that it finds those too of which it does not know kohya's name.

    Raises:
        ValueError: it is no SDXL LoRA, it is not whole, or a part of it does not fit what is given.
    """
    if strength == 0 or (
        lora and not without_embeddings(lora)
    ):  # an embedding alone changes no weight
        return model, clip
    layers = by_layer(to_kohya(lora, getattr(lora, "metadata", None)))
    known = dict(_layers(model, clip))
    fitting = {stem: parts for stem, parts in layers.items() if stem in known}
    if not fitting:
        raise ValueError(
            "No part of this LoRA fits the MODEL. Either it was trained on another kind of model: "
            "connect an SDXL MODEL, or the LoRA that belongs to this one. Or it is for the text "
            "encoders alone: connect CLIP too."
        )
    _check(fitting, known)
    _tell(layers.keys() - known.keys(), has_clip=clip is not None)
    named = {
        f"{known[stem].name}.{part}": tensor
        for stem, parts in fitting.items()
        for part, tensor in _without_core(parts).items()
    }
    return comfy.sd.load_lora_for_models(model, clip, named, strength, strength)


def _layers(model: ModelPatcher, clip: Clip | None) -> Iterator[tuple[str, _Layer]]:
    """kohya's stem of every layer of UNet and text encoders that has a weight."""
    yield from _below("diffusion_model.", UNET, "", model.model)
    if clip is not None:
        for path, prefix in _ENCODERS.items():
            yield from _below(path, prefix, "text_encoders.", clip.patcher.model)


def _below(path: str, prefix: str, called: str, model: Stateful) -> Iterator[tuple[str, _Layer]]:
    for key, weight in model.state_dict().items():
        if key.startswith(path) and key.endswith(_WEIGHT):
            layer = key.removesuffix(_WEIGHT)
            stem = prefix + layer.removeprefix(path).replace(".", "_")
            yield stem, _Layer(called + layer, tuple(weight.shape))


def _check(fitting: Mapping[str, Mapping[str, Tensor]], known: Mapping[str, _Layer]) -> None:
    if all(parts.keys() == {ALPHA} for parts in fitting.values()):
        raise ValueError(
            "What this LoRA holds for the MODEL is alphas alone and no weights, so it changes nothing. "
            "Take another copy of its file."
        )
    for stem, parts in sorted(fitting.items()):
        absent = missing_parts(parts)
        if absent:
            raise ValueError(
                f"The LoRA is not whole: {stem} has {', '.join(sorted(parts))} and no "
                f"{', '.join(absent)}. Its file is damaged: take another copy."
            )
    odd = {stem: misfit(parts, known[stem].shape) for stem, parts in sorted(fitting.items())}
    odd = {stem: why for stem, why in odd.items() if why}
    if odd:
        first = next(iter(odd))
        raise ValueError(
            f"{len(odd)} of {len(fitting)} layers of this LoRA do not fit the MODEL, e.g. {first} "
            f"{odd[first]}: it was trained on another kind of model. Connect an SDXL MODEL, or the LoRA "
            "that belongs to this one."
        )


def _without_core(parts: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The parts with the second factor of a LoKr whole: with a core ComfyUI's loader fails on it."""
    core = parts.get("lokr_t2")
    if core is None:
        return parts
    first, second = parts["lokr_w2_a"], parts["lokr_w2_b"]
    scale = float(parts[ALPHA]) / second.shape[0] if ALPHA in parts else 1.0
    whole = torch.einsum("ij...,jr,ip->pr...", core.float(), second.float(), first.float()) * scale
    gone = {"lokr_t2", "lokr_w2_a", "lokr_w2_b", ALPHA}
    kept = {part: tensor for part, tensor in parts.items() if part not in gone}
    return {**kept, "lokr_w2": whole.contiguous()}


def _tell(absent: set[str], *, has_clip: bool) -> None:
    """What is left out of a LoRA that fits, in the log."""
    text = {stem for stem in absent if not stem.startswith(UNET)}
    if text and not has_clip:
        log.warning(
            "LoRA Loop: %d text encoder layers of the LoRA are left out: connect CLIP to Apply LoRA "
            "to have them.",
            len(text),
        )
        absent = absent - text
    if absent:
        log.warning(
            "LoRA Loop: %d layers of the LoRA are left out, which the model does not have, e.g. %s.",
            len(absent),
            min(absent),
        )
