"""What happens to images on their way into a dataset: scaled, re-encoded, blurred, framed, cropped."""

from __future__ import annotations

import io
import random

import cv2
import numpy as np
from PIL import Image

Picture = np.ndarray
"""uint8 RGB [H, W, 3]."""

Colour = tuple[int, int, int]


def resized(picture: Picture, factor: float) -> Picture:
    """Smaller by area averaging, larger by a cubic filter."""
    height, width = picture.shape[:2]
    size = (round(width * factor), round(height * factor))
    return cv2.resize(
        picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    )


def jpeg(picture: Picture, quality: int) -> Picture:
    """Encoded and decoded."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def noisy(picture: Picture, deviation: float, seed: int) -> Picture:
    """Grain of this standard deviation."""
    grain = np.random.default_rng(seed).normal(0, deviation, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def toned(picture: Picture, gain: float, offset: float) -> Picture:
    """Another contrast and brightness."""
    return np.clip(picture * gain + offset, 0, 255).astype(np.uint8)


def cropped(picture: Picture, most: float, draw: random.Random) -> Picture:
    """Each edge loses up to the share ``most``."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (draw.uniform(0, most) for _ in range(4))
    return picture[
        int(top * height) : height - int(bottom * height),
        int(left * width) : width - int(right * width),
    ]


def gaussian(picture: Picture, radius: float) -> Picture:
    """Blurred by a Gaussian of this standard deviation in pixels."""
    return cv2.GaussianBlur(picture, (0, 0), radius)


def out_of_focus(picture: Picture, radius: int) -> Picture:
    """Blurred as a lens does: by a disc."""
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (rows**2 + columns**2 <= radius**2).astype(np.float32)
    return cv2.filter2D(picture, -1, disc / disc.sum())


def shaken(picture: Picture, length: int, angle: float) -> Picture:
    """Blurred along a line of ``length`` pixels, as a moved camera does."""
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    x, y = np.cos(angle) * middle, np.sin(angle) * middle
    start, end = ((round(middle + sign * x), round(middle + sign * y)) for sign in (-1, 1))
    cv2.line(kernel, start, end, (1.0,))
    return cv2.filter2D(picture, -1, kernel / kernel.sum())


def enlarged(picture: Picture, factor: float, interpolation: int) -> Picture:
    """The same number of pixels, ``factor`` times fewer of them true."""
    height, width = picture.shape[:2]
    small = resized(picture, 1 / factor)
    return cv2.resize(small, (width, height), interpolation=interpolation)


def subject_in_focus(picture: Picture, radius: float, draw: random.Random) -> Picture:
    """Blurred except for an oval (a tenth to a third of the image) where it has most detail."""
    height, width = picture.shape[:2]
    axes = (int(width * draw.uniform(0.18, 0.32)), int(height * draw.uniform(0.18, 0.32)))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    detail = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    window = (2 * axes[0] + 1, 2 * axes[1] + 1)
    detail = cv2.boxFilter(detail, -1, window, borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(detail.argmax(), detail.shape)
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (int(x), int(y)), axes, 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 4)[:, :, None]
    return (picture * mask + gaussian(picture, radius) * (1 - mask)).astype(np.uint8)


def framed(picture: Picture, colour: Colour, draw: random.Random, sides: str = "") -> Picture:
    """Bars of one colour on opposite sides, 3 to 30 % of the side together.

    ``sides``: ``rows`` (above and below), ``columns``, ``all``, or drawn.
    """
    sides = sides or draw.choice(("rows", "columns", "all"))
    height, width = picture.shape[:2]
    share, uneven = draw.uniform(0.03, 0.3) / 2, draw.uniform(0.8, 1.2)
    rows = max(4, int(height * share)) if sides != "columns" else 0
    columns = max(4, int(width * share)) if sides != "rows" else 0
    return cv2.copyMakeBorder(
        picture,
        rows, int(rows * uneven), columns, int(columns * uneven),
        cv2.BORDER_CONSTANT, value=colour,
    )  # fmt: skip


def vignetted(picture: Picture, strength: float) -> Picture:
    """Darker towards the corners."""
    height, width = picture.shape[:2]
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    light = 1 - strength * np.maximum(np.hypot(rows, columns) - 0.4, 0)
    return (picture * np.clip(light, 0, 1)[:, :, None]).astype(np.uint8)
