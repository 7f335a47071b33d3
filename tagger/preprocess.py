"""From a picture to the tensor that a WD14 tagger reads; owns decoding, padding and resizing.

Steps and constants are those of kohya's `finetune/tag_images_by_wd14_tagger.py`.
"""

from __future__ import annotations

import struct
from os import PathLike

import cv2
import numpy as np
from PIL import Image, ImageOps

Picture = np.ndarray | str | PathLike[str]
"""A path, or decoded RGB pixels (H, W, 3) uint8."""

WHITE = 255
# What Pillow raises, depending on the format, for a file that is missing, cut off or no picture.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)


def read_rgb(path: str | PathLike[str], kohya: bool = False) -> np.ndarray:
    """Decode a file to (H, W, 3) uint8 RGB; ValueError names a file that cannot be read."""
    try:
        with Image.open(path) as image:
            return flatten(image, kohya)
    except DECODE_ERRORS as error:
        raise ValueError(
            f"cannot read the picture {path}: {error}; repair it or take it out of the dataset"
        ) from error


def flatten(image: Image.Image, kohya: bool = False) -> np.ndarray:
    """A Pillow image (its first frame) as (H, W, 3) uint8 RGB, transparency blended on white.

    EXIF orientation is applied and 16-bit grey scaled to 8 bits unless `kohya`, whose script
    ignores the one and clips the other.
    """
    if not kohya:
        image = _eight_bit(ImageOps.exif_transpose(image))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", rgba.size, (WHITE, WHITE, WHITE))
        canvas.paste(rgba, mask=rgba.getchannel("A"))
        return np.asarray(canvas)
    return np.asarray(image.convert("RGB"))


def square_bgr(rgb: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (side, side, 3) float32 BGR in 0..255, padded with white to a square.

    Area averaging downwards, Pillow's Lanczos upwards.
    """
    height, width = rgb.shape[:2]
    longest = max(height, width)
    top, left = (longest - height) // 2, (longest - width) // 2
    canvas = np.full((longest, longest, 3), WHITE, np.uint8)
    canvas[top : top + height, left : left + width] = rgb[:, :, ::-1]
    if longest >= side:
        resized = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    else:
        small = Image.fromarray(canvas)
        resized = np.asarray(small.resize((side, side), Image.Resampling.LANCZOS))
    return resized.astype(np.float32)


def prepare(picture: Picture, side: int = 448, kohya: bool = False) -> np.ndarray:
    """A path or (H, W, 3) uint8 RGB pixels -> (side, side, 3) float32 BGR; ValueError if neither."""
    if not isinstance(picture, np.ndarray):
        return square_bgr(read_rgb(picture, kohya), side)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(
            f"a picture must be uint8 RGB of shape (height, width, 3), got {picture.dtype} "
            f"{picture.shape}; convert it first"
        )
    return square_bgr(picture, side)


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey (Pillow modes I and I;16) by its high byte: `convert` would clip it to white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).clip(0, WHITE).astype(np.uint8))
