"""What its maker says of a LoRA: name, words, a small picture. kohya's metadata_* and training_comment."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 256
"""Longer side of a thumbnail in pixels: some ten kilobytes in a file of many megabytes."""


@dataclass(frozen=True)
class About:
    """Words of the maker; what is empty is not written. ``tags`` are words between commas.

    ``title``: the file's name when empty. ``comment``: kohya's training_comment.
    """

    title: str = ""
    author: str = ""
    description: str = ""
    license: str = ""
    tags: str = ""
    comment: str = ""

    def keys(self, name: str) -> dict[str, str]:
        """The metadata keys of a LoRA whose file is called ``name``, without folder and suffix."""
        words = {
            "author": self.author,
            "description": self.description,
            "license": self.license,
            "tags": self.tags,
        }
        return {
            "ss_output_name": name,
            "ss_training_comment": self.comment or "None",
            "modelspec.title": self.title or name,
            **{f"modelspec.{key}": text for key, text in words.items() if text},
        }


def thumbnail_url(pixels: np.ndarray) -> str:
    """A picture as modelspec.thumbnail: a data URL of a small JPEG. RGB [H, W, 3], floats in 0..1."""
    levels = np.rint(np.clip(pixels[..., :3], 0.0, 1.0) * 255).astype(np.uint8)
    picture = Image.fromarray(levels)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
