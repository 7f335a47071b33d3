"""A decoded image to RGB: upright, 16 bits to 8, transparency on white. How colours change is the caller's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from .image_file import decoding

WHITE = (255, 255, 255)


def opacity(image: Image.Image) -> Image.Image | None:
    """How opaque each pixel is, mode L; None where the image has no transparency."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):
        seen = np.asarray(image) != image.info["transparency"]
        return Image.fromarray(np.where(seen, 255, 0).astype(np.uint8))
    with_alpha = image if "A" in image.getbands() else image.convert("RGBA")
    return with_alpha.getchannel("A")


def upright_8_bit(image: Image.Image, levels_of: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    """The image turned as its EXIF data say, in place, and 16-bit grey in 8 bits; its colour profile stays.

    ``levels_of``: from levels in 0..65535 to 0..255, which are clipped and cut off at the point.
    """
    with decoding():
        ImageOps.exif_transpose(image, in_place=True)
    if not image.mode.startswith("I"):  # Pillow's I and I;16, which convert() would clip to white
        return image
    levels = levels_of(np.asarray(image))
    grey, alpha = Image.fromarray(levels.clip(0, 255).astype(np.uint8)), opacity(image)
    shown = grey if alpha is None else Image.merge("LA", (grey, alpha))
    shown.info["icc_profile"] = image.info.get("icc_profile")
    return shown


def rounded(levels: np.ndarray) -> np.ndarray:
    """16-bit levels to the nearest of 8 bits, 65535 to 255."""
    return levels.astype(np.float64) / 65535.0 * 255.0 + 0.5


def high_byte(levels: np.ndarray) -> np.ndarray:
    """16-bit levels by their high byte."""
    return levels >> 8


def plain_rgb(image: Image.Image) -> Image.Image:
    """Pillow's conversion, which drops transparency; an RGB image itself."""
    return image if image.mode == "RGB" else image.convert("RGB")


def on_white(
    image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image] = plain_rgb
) -> Image.Image:
    """Mode RGB, what is transparent blended on white; ``to_rgb`` converts the colours before that."""
    alpha = opacity(image)
    if alpha is None:
        return to_rgb(image)
    is_grey = image.mode in {"1", "L", "LA"}  # a grey profile is for levels, not for colours
    plain = image.convert("RGBA").convert("L" if is_grey else "RGB")
    plain.info["icc_profile"] = image.info.get("icc_profile")
    canvas = Image.new("RGB", image.size, WHITE)
    canvas.paste(to_rgb(plain), mask=alpha)
    return canvas
