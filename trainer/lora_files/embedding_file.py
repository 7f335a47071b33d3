"""Embeddings as files: ComfyUI's and sd-scripts' form for SDXL, and those of other programs, read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..config.embedding import BUNDLED, KEYS

_OTHER_NAMES = {"text_encoders_0": "clip_l", "text_encoders_1": "clip_g"}
"""What diffusers' SDXL scripts call the encoders."""

_HOLDER = "string_to_param"
"""A1111's, in which the vectors lie under a name that says nothing."""


class Found(NamedTuple):
    """A trained embedding: its name, and [vectors, width] by KEYS."""

    name: str
    vectors: dict[str, Tensor]


def embedding_of(lora: Mapping[str, Tensor]) -> Found | None:
    """The embedding that a LoRA carries, or that is trained alone; None where there is none.

    Raises:
        ValueError: there are several, or one of the two encoders is missing.
    """
    names = {
        name.removeprefix(BUNDLED).rpartition(".")[0] for name in lora if name.startswith(BUNDLED)
    }
    if not names:
        return None
    if len(names) > 1:
        raise ValueError(
            f"This LoRA carries {len(names)} embeddings, {', '.join(sorted(names)[:3])}: which one is meant "
            "cannot be told. Take a LoRA that carries one."
        )
    (name,) = names
    vectors = {
        key: lora[f"{BUNDLED}{name}.{key}"] for key in KEYS if f"{BUNDLED}{name}.{key}" in lora
    }
    if len(vectors) < len(KEYS):
        raise ValueError(
            f"The embedding {name} of this LoRA is not one of SDXL: it has vectors for "
            f"{', '.join(vectors) or 'no encoder'} and needs them for {' and '.join(KEYS)}."
        )
    return Found(name, vectors)


def bundled(lora: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of the embeddings that a LoRA carries, by the embedding's name, then by what is left of the key."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in lora.items():
        if key.startswith(BUNDLED):
            name, _, part = key.removeprefix(BUNDLED).partition(".")
            found.setdefault(name, {})[part] = value
    return found


def without_embeddings(lora: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The LoRA alone; empty where an embedding was trained without one."""
    return {name: value for name, value in lora.items() if not name.startswith(BUNDLED)}


def read_vectors(contents: Any, widths: Mapping[str, int]) -> dict[str, Tensor]:
    """The vectors in what an embedding's file holds, [vectors, width] float32 by KEYS.

    Known are the forms of sd-scripts and ComfyUI (clip_l, clip_g), of diffusers (text_encoders_0 and _1, or
    a tensor for each token), of A1111 (string_to_param, emb_params) and of LoRAs that carry one. Without a
    name the width tells the encoder; an embedding of Stable Diffusion 1.5 has CLIP-L's vectors only.
    widths: of each encoder's vectors.

    Raises:
        ValueError: no vectors of these widths are there, or numbers are not finite.
    """
    parts: dict[str, list[Tensor]] = {}
    for name, value in _tensors(contents):
        key = _key(name)
        fitting = [k for k in ([key] if key else KEYS) if value.shape[-1] == widths[k]]
        if fitting:
            parts.setdefault(fitting[0], []).append(
                value.detach().float().cpu().reshape(-1, value.shape[-1])
            )
    found = {key: torch.cat(parts[key]) for key in KEYS if key in parts}
    if not found:
        raise ValueError(
            f"it holds no vectors of {' or '.join(str(widths[key]) for key in KEYS)} numbers, as the text "
            "encoders of this model have them"
        )
    if len({len(vectors) for vectors in found.values()}) > 1:
        raise ValueError("it has another number of vectors for each text encoder")
    if not all(bool(vectors.isfinite().all()) for vectors in found.values()):
        raise ValueError(
            "it has numbers that are not finite: it is damaged, or its training ran away"
        )
    return found


def _key(name: str) -> str:
    """The encoder that a name says; "" for one that says nothing."""
    last = name.rpartition(".")[2]
    return last if last in KEYS else _OTHER_NAMES.get(last, "")


def _tensors(contents: Any) -> list[tuple[str, Tensor]]:
    """Tensors of floating-point numbers with their names, in order."""
    if not isinstance(contents, Mapping):
        return []
    inner = contents.get(_HOLDER)
    if isinstance(inner, Mapping):
        contents = inner
    return [
        (str(name), value)
        for name, value in contents.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.dim() in (1, 2)
    ]
