"""Save LoRA: the file, and beside it the preview that stands for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from ....base.inside import is_inside
from ....base.write_errors import CannotWrite
from ....trainer.config.about import About
from ....trainer.config.checkpoints import Precision
from ....trainer.lora_files.file import IfExists, save_beside, save_user_lora
from ....trainer.lora_files.formats import LoraFormat, in_format
from ....trainer.lora_tools.metadata import MADE
from ....trainer.runs.run_list import run_of
from .. import folders
from ..lora.save import Hidden, file_metadata
from ..model.vae import to_image
from .choice import Face, Which, face_of

log = logging.getLogger(__name__)


def save_lora(
    lora: Mapping[str, Tensor],
    name: str,
    about: About,
    *,
    precision: Precision,
    if_exists: IfExists,
    format: LoraFormat,
    preview: Which,
    private: bool,
    thumbnail: Tensor | None,
    hidden: Hidden | None,
) -> tuple[Path, list[str]]:
    """Write a LoRA where ComfyUI lists it, with its image; the path, and what is said of both, a line each.

    Raises as `save_user_lora`. An image that cannot be written is told.
    """
    face = face_of(lora, preview)
    if thumbnail is None and face.image is not None:
        thumbnail = to_image(np.asarray(face.image))
    metadata = file_metadata(
        lora, name, about,
        thumbnail=thumbnail, hidden=hidden, private=private, strength=face.strength,
    )  # fmt: skip
    path = save_user_lora(
        folders.loras_folder(), name, in_format(lora, format), metadata,
        precision=precision, if_exists=if_exists, others=folders.other_loras_folders(),
    )  # fmt: skip
    return path, [
        f"saved {path}",
        *_picture(path, face, private, if_exists),
        *_changed(lora, preview),
    ]


def _changed(lora: Mapping[str, Tensor], preview: Which) -> list[str]:
    """Why a LoRA of a run has no preview though the run has some."""
    metadata: dict[str, str] = getattr(lora, "metadata", {})
    if MADE not in metadata or preview == "off" or run_of(folders.runs_root(), metadata) is None:
        return []
    last = metadata[MADE].splitlines()[-1:]
    return [
        f"without preview and recommended strength: the training's are of the LoRA before it was {''.join(last)}"
    ]


def _picture(path: Path, face: Face, private: bool, if_exists: IfExists) -> list[str]:
    """Write the image beside the LoRA; what is said of it."""
    data = face.png(path.stem, private)
    if data is None or face.place is None:
        return []
    roots = [folders.loras_folder(), *folders.other_loras_folders()]
    root = next((root for root in roots if is_inside(path, root)), path.parent)
    try:
        written = save_beside(path, ".png", data, if_exists, root)
    except CannotWrite as error:
        log.warning("LoRA Loop: %s", error)
        return [f"without its preview: {error}"]
    if written is None:
        return [f"{path.with_suffix('.png').name} is another image already and stays as it is"]
    step, prompt, strength = face.place
    said = "" if face.made_by is None else f" ({face.made_by['text']})"
    return [
        f"preview {written.name}: step {step:,}, prompt {prompt + 1}{said}, strength {strength:g}"
    ]
