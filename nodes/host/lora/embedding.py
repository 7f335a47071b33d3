"""Embeddings in ComfyUI's folders: saved there, and read to go on training them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import comfy.utils
from torch import Tensor

from ....base.inside import is_inside
from ....base.plain_names import plain_path
from ....trainer.config.checkpoints import Precision
from ....trainer.config.embedding import EmbeddingConfig
from ....trainer.files.digests import file_digest
from ....trainer.lora_files.embedding_file import embedding_of, read_vectors
from ....trainer.lora_files.file import IfExists, save_user_lora
from ....trainer.runs.start_from import Start
from .. import folders
from ..model.clip_word import initial_vectors, vector_widths
from ..model.host_types import Clip
from .load import UNUSABLE

ENDINGS = ("", ".safetensors", ".pt", ".bin")
"""What ComfyUI puts behind the name of an embedding to find its file, in its order."""

_NO_NAME = re.compile(r"[\s()\[\]{},]")
"""Where a prompt ends the name of an embedding, or reads something else."""


def save_embedding(
    lora: Mapping[str, Tensor], name: str, *, precision: Precision, if_exists: IfExists
) -> tuple[Path, str]:
    """Write the embedding of a LoRA_MODEL where ComfyUI finds it; its path, and what names it in a prompt.

    name: of the file; empty: the token. The keys are clip_l and clip_g, as ComfyUI and sd-scripts have them.

    Raises:
        ValueError: there is no embedding, the name is none for a file or a prompt, or ComfyUI may take
            another file for it.
    """
    found = embedding_of(lora)
    if found is None:
        raise ValueError(
            "There is no embedding in this LoRA: connect Embedding Settings to the Train that it comes from, "
            "or save it with Save LoRA."
        )
    own = getattr(lora, "metadata", {})
    metadata = {key: own[key] for key in ("modelspec.date", "ss_base_model_version") if key in own}
    metadata |= {"name": found.name, "lora_loop.token": found.name}
    folder = folders.embeddings_folder()
    name = _checked(name.strip().removesuffix(".safetensors") or found.name)
    others = folders.other_embeddings_folders()
    tops = [folder, *others]
    wanted = folder / f"{name}.safetensors"
    if meant := _also_meant(wanted, tops):
        raise ValueError(
            f"A prompt with embedding:{meant[0]} would mean either of {wanted} and {meant[1]}. Choose another name, "
            "or move the other file out of ComfyUI's folders of embeddings."
        )
    path = save_user_lora(
        folder, name, found.vectors, metadata,
        precision=precision, if_exists=if_exists, others=others,
        is_free=lambda numbered: not _also_meant(numbered, tops),
    )  # fmt: skip
    shown = path.relative_to(folder).with_suffix("") if path.is_relative_to(folder) else path.stem
    return path, f"embedding:{Path(shown).as_posix()}"


def _checked(name: str) -> str:
    """The name if a prompt can have it; ValueError says why not."""
    name = plain_path(name, "be the name of an embedding")
    bad = sorted({*_NO_NAME.findall(name)})
    if bad:
        raise ValueError(
            f"A prompt cannot name the embedding {name!r}: it would not read {' '.join(map(repr, bad))} as part of "
            "the name. Use letters, digits, - and _."
        )
    return name


def _also_meant(path: Path, tops: Sequence[Path]) -> tuple[str, Path] | None:
    """What a prompt would mean two embeddings by if one lay at ``path``, and the other one.

    ComfyUI looks into all subfolders of all folders, which it takes in no order, and for several endings. So the
    file's own name may be found below another folder, and a part of it is the name of a file that lies higher.
    """
    name = path.relative_to(tops[0]).with_suffix("").as_posix()
    words = name.split("/")
    places = [(Path(inner), name) for top in tops for inner, _, _ in os.walk(top, followlinks=True)]
    places += [(top, "/".join(words[k:])) for top in tops for k in range(1, len(words))]
    for place, word in places:
        for ending in ENDINGS:
            other = place / f"{word}{ending}"
            if other != path and other.is_file():
                return word, other
    return None


def first_vectors(
    clip: Clip, settings: EmbeddingConfig, start: Start | None = None
) -> dict[str, Tensor]:
    """What the vectors begin as, [vectors, width] float32 on the CPU by KEYS.

    Those of an embedding that training goes on with; an encoder for which it has none begins as the text.
    start: the LoRA that training begins with, which may carry one.

    Raises:
        ValueError: that embedding cannot be used; says why.
    """
    return initial_vectors(clip, settings) | given_vectors(clip, settings, start)


def given_vectors(clip: Clip, settings: EmbeddingConfig, start: Start | None) -> dict[str, Tensor]:
    """`first_vectors` as far as they are not the text's: {} where there is no embedding to go on with."""
    bundled = {} if start is None else start.embedding(settings)
    if not settings.start and not bundled:
        return {}
    path = started(settings) if settings.start else None
    named = "of the LoRA to start from" if path is None else path.name
    try:
        contents = (
            bundled if path is None else comfy.utils.load_torch_file(str(path), safe_load=True)
        )
        own = read_vectors(contents, vector_widths(clip))
    except UNUSABLE as error:
        raise ValueError(
            f"The embedding {path or named} cannot be gone on with: {error or 'it is empty or damaged'}."
        ) from error
    count = len(next(iter(own.values())))
    if count != settings.vectors:
        raise ValueError(
            f"The embedding {named} has {count} vectors, and Embedding Settings say {settings.vectors}: set "
            f"vectors to {count}."
        )
    return own


def started(settings: EmbeddingConfig) -> Path:
    """The file of the embedding to go on with; ValueError where there is none."""
    name = plain_path(settings.start.strip(), "name an embedding")
    for folder in (folders.embeddings_folder(), *folders.other_embeddings_folders()):
        for ending in ENDINGS:
            path = folder / f"{name}{ending}"
            if path.is_file() and is_inside(path, folder):
                return path
    raise ValueError(
        f"There is no embedding {name} in models/embeddings to go on with: correct start in Embedding "
        "Settings, or empty it."
    )


def start_digest(settings: EmbeddingConfig) -> str:
    """Names the contents of the embedding to go on with."""
    return file_digest(started(settings))
