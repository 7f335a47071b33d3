"""From an image to the pixels that a tagger reads; owns decoding, padding and resizing.

Steps and constants of the usual view are those of kohya's `finetune/tag_images_by_wd14_tagger.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from ...base.image_file import opened
from ...base.rgb import high_byte, on_white, upright_8_bit

Picture = np.ndarray | Image.Image | bytes | str | PathLike[str]
"""Decoded RGB pixels (H, W, 3) uint8, an image open in Pillow, the bytes of its file, or its path."""

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
Fit = Literal["square", "stretch", "inside"]
"""`square`: filled up to a square, then resized; `stretch`: resized whatever its shape; `inside`:
resized to fit, then filled up."""

WHITE = (255, 255, 255)
LARGEST = 8192
"""A longer side is shrunk by a whole number before padding, whose square would take gigabytes."""
SCALES = (8, 4, 2)
"""Fractions of its size at which libjpeg can decode a JPEG."""


@dataclass(frozen=True)
class View:
    """How a tagger wants to see an image: the square that it becomes."""

    side: int = 448
    """Pixels of the square's side."""
    fit: Fit = "square"
    colour: Colour | None = WHITE
    """What fills up the square; None repeats the image's edge."""
    resampling: Image.Resampling | None = None
    """Pillow's filter; None averages areas downwards and is Lanczos upwards, as kohya's script."""


def prepare(
    picture: Picture, view: View = View(), kohya: bool = False, fast: bool = False
) -> np.ndarray:
    """An image -> (side, side, 3) uint8 BGR; ValueError names a file that cannot be read.

    `fast` decodes a JPEG at the smallest scale that loses no pixel of the view: quicker, and
    slightly other pixels. `kohya` as in `flatten`.
    """
    if isinstance(picture, Image.Image):
        return seen_bgr(flatten(picture, kohya), view, kohya)
    if not isinstance(picture, np.ndarray):
        return seen_bgr(read_rgb(picture, kohya, view if fast else None), view, kohya)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(
            f"an image must be uint8 RGB of shape (height, width, 3), got {picture.dtype} "
            f"{picture.shape}; convert it first"
        )
    return seen_bgr(picture, view, kohya)


def read_rgb(
    picture: bytes | str | PathLike[str], kohya: bool = False, least: View | None = None
) -> np.ndarray:
    """Decode a file to (H, W, 3) uint8 RGB; ValueError names a file that cannot be read.

    With `least` a JPEG may come smaller, no side below what that view shows of it.
    """
    path, data = (None, picture) if isinstance(picture, bytes) else (picture, None)
    smaller = None if least is None else partial(_decode_smaller, view=least)
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


def seen_bgr(rgb: np.ndarray, view: View, kohya: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (side, side, 3) uint8 BGR.

    Sides above `LARGEST` are averaged down by a whole number before they are filled up, unless
    `kohya`.
    """
    if view.fit == "stretch":
        seen = _resized(rgb, (view.side, view.side), view)
    elif view.fit == "inside":
        seen = _filled(_resized(rgb, _inside(rgb, view.side), view), view.side, view.colour)
    else:
        if not kohya and max(rgb.shape) > LARGEST:
            shrink = -(-max(rgb.shape) // LARGEST)
            size = (max(1, rgb.shape[1] // shrink), max(1, rgb.shape[0] // shrink))
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        square = _filled(rgb, max(rgb.shape[:2]), view.colour)
        seen = _resized(square, (view.side, view.side), view)
    # Every way treats each channel alone, so that the few pixels left can be turned to BGR.
    return cv2.cvtColor(seen, cv2.COLOR_RGB2BGR)


def _inside(rgb: np.ndarray, side: int) -> tuple[int, int]:
    """Width and height of the image when its longest side is `side`, the other rounded down."""
    height, width = rgb.shape[:2]
    if width > height:
        return side, max(1, int(side / (width / height)))
    return max(1, int(side * (width / height))), side


def _filled(rgb: np.ndarray, side: int, colour: Colour | None) -> np.ndarray:
    """The image in the middle of a square of that side."""
    height, width = rgb.shape[:2]
    top, left = (side - height) // 2, (side - width) // 2
    if colour is None:
        rows, columns = (top, side - height - top), (left, side - width - left)
        return np.pad(rgb, (rows, columns, (0, 0)), "edge")
    canvas = np.full((side, side, 3), colour, np.uint8)
    canvas[top : top + height, left : left + width] = rgb
    return canvas


def _resized(rgb: np.ndarray, size: tuple[int, int], view: View) -> np.ndarray:
    """To (width, height), with the filter of the view."""
    if view.resampling is None and max(rgb.shape[:2]) >= view.side:
        return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    resampling = Image.Resampling.LANCZOS if view.resampling is None else view.resampling
    return np.asarray(Image.fromarray(rgb).resize(size, resampling))


def _decode_smaller(image: Image.Image, view: View) -> None:
    """Have libjpeg decode at an eighth, a quarter or half; does nothing to other formats."""
    measure = min(image.size) if view.fit == "stretch" else max(image.size)
    scale = next((s for s in SCALES if measure >= s * view.side), 1)
    if scale > 1:
        image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
