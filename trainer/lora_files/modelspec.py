"""The thumbnail of a LoRA file, as modelspec holds it."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 256
"""Longer side of a thumbnail in pixels: some ten kilobytes in a file of many megabytes."""


def thumbnail_url(pixels: np.ndarray) -> str:
    """An image as modelspec.thumbnail: a data URL of a small JPEG. RGB [H, W, 3], floats in 0..1."""
    levels = np.rint(np.clip(pixels[..., :3], 0.0, 1.0) * 255).astype(np.uint8)
    picture = Image.fromarray(levels)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
