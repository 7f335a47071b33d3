"""From an image to the pixels that a tagger reads; owns decoding, padding and resizing.

Steps and constants are those of kohya's `finetune/tag_images_by_wd14_tagger.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from os import PathLike

import cv2
import numpy as np
from PIL import Image

from ...base.image_file import opened
from ...base.rgb import high_byte, on_white, upright_8_bit
from .labels import Layout

Picture = np.ndarray | Image.Image | bytes | str | PathLike[str]
"""Decoded RGB pixels (H, W, 3) uint8, an image open in Pillow, the bytes of its file, or its path."""

WHITE = 255
LARGEST = 8192
"""A longer side is shrunk by a whole number before padding, whose square would take gigabytes."""
SCALES = (8, 4, 2)
"""Fractions of its size at which libjpeg can decode a JPEG."""


def prepare(
    picture: Picture, side: int = 448, kohya: bool = False, fast: bool = False
) -> np.ndarray:
    """An image -> (side, side, 3) uint8 BGR; ValueError names a file that cannot be read.

    `fast` decodes a JPEG at the smallest scale that keeps its longest side at `side` or more:
    quicker, and slightly other pixels. `kohya` as in `flatten`.
    """
    if isinstance(picture, Image.Image):
        return square_bgr(flatten(picture, kohya), side, kohya)
    if not isinstance(picture, np.ndarray):
        return square_bgr(read_rgb(picture, kohya, side if fast else None), side, kohya)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(
            f"an image must be uint8 RGB of shape (height, width, 3), got {picture.dtype} "
            f"{picture.shape}; convert it first"
        )
    return square_bgr(picture, side, kohya)


def read_rgb(
    picture: bytes | str | PathLike[str], kohya: bool = False, least: int | None = None
) -> np.ndarray:
    """Decode a file to (H, W, 3) uint8 RGB; ValueError names a file that cannot be read.

    With `least` a JPEG may come smaller, its longest side still `least` or more.
    """
    path, data = (None, picture) if isinstance(picture, bytes) else (picture, None)
    smaller = None if least is None else partial(_decode_smaller, least=least)
    with opened(path, data, smaller, kohya=kohya) as image:
        return flatten(image, kohya)


def flatten(image: Image.Image, kohya: bool = False) -> np.ndarray:
    """A Pillow image (its first frame) as (H, W, 3) uint8 RGB, transparency blended on white.

    EXIF orientation is applied and 16-bit grey brought to its high byte unless `kohya`, whose script
    ignores the one and clips the other. Colour profiles are not applied, as there.
    """
    if not kohya:
        image = upright_8_bit(image, high_byte)
    return np.asarray(on_white(image))


def square_bgr(rgb: np.ndarray, side: int, kohya: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (side, side, 3) uint8 BGR, padded with white to a square.

    Area averaging downwards, Pillow's Lanczos upwards. Sides above `LARGEST` are averaged down by
    a whole number first unless `kohya`.
    """
    if not kohya and max(rgb.shape) > LARGEST:
        shrink = -(-max(rgb.shape) // LARGEST)
        size = (max(1, rgb.shape[1] // shrink), max(1, rgb.shape[0] // shrink))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    height, width = rgb.shape[:2]
    longest = max(height, width)
    top, left = (longest - height) // 2, (longest - width) // 2
    canvas = np.full((longest, longest, 3), WHITE, np.uint8)
    canvas[top : top + height, left : left + width] = rgb
    if longest >= side:
        resized = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    else:
        small = Image.fromarray(canvas)
        resized = np.asarray(small.resize((side, side), Image.Resampling.LANCZOS))
    # Both ways treat each channel alone, so that the few pixels left can be turned to BGR.
    return cv2.cvtColor(resized, cv2.COLOR_RGB2BGR)


def as_input(pictures: Sequence[np.ndarray], layout: Layout) -> np.ndarray:
    """Prepared images -> what the model reads, float32 BGR.

    `csv`: (n, side, side, 3) in 0..255; `json`: (n, 3, side, side) in -1..1.
    """
    if layout == "csv":
        return np.stack(pictures, dtype=np.float32, casting="unsafe")
    planes = np.stack([picture.transpose(2, 0, 1) for picture in pictures])
    planes = planes.astype(np.float32, order="C")
    planes /= 127.5
    planes -= 1.0
    return planes


def _decode_smaller(image: Image.Image, least: int) -> None:
    """Have libjpeg decode at an eighth, a quarter or half; does nothing to other formats."""
    scale = next((s for s in SCALES if max(image.size) >= s * least), 1)
    if scale > 1:
        image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
