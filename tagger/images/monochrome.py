"""Is an image greyscale or of one hue? Two methods, and what becomes of such an image.

`hsv` is the test of the author's script on all pixels, in OpenCV's own numbers for uint8: hue 0..179,
saturation 0..255. `lab` is the test of `chroma.py`, which sees through tinted paper and colour noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Literal, get_args

import cv2
import numpy as np
from PIL import Image

from ...base.config import Config, Problems
from ...base.image_file import opened
from ..captions.tag_text import SEPARATOR, merge
from ..wd14.preprocess import flatten
from .chroma import SIDE, measure_lab

Kind = Literal["greyscale", "monochrome"]
"""The tag that such an image gets; a coloured one has None."""

MonochromePolicy = Literal["tag", "exclude", "down-weight"]
MONOCHROME_POLICIES: tuple[MonochromePolicy, ...] = get_args(MonochromePolicy)

MonochromeMethod = Literal["hsv", "lab"]
NUMBERS: dict[MonochromeMethod, tuple[str, str]] = {
    "hsv": ("saturation mean", "hue deviation"),
    "lab": ("tint", "chroma beside it"),
}
"""What the two numbers of an image are, by method."""

GREY_TINT = 3.0
"""In Lab units: a weaker tint is hardly seen, and the image greyscale."""


@dataclass(frozen=True)
class MonochromeConfig(Config):
    """From numbers to a verdict; the thresholds of the other method do not count.

    An image whose tint is at least `tint_limit` is coloured, be it of one hue or not.
    """

    title = "Detect Monochrome"

    method: MonochromeMethod = "hsv"
    """Images are measured in this way: hue and saturation of all pixels, or colour in CIE Lab."""
    saturation_threshold: float = 0.001
    """An image below this mean saturation, 0 to 255, is greyscale (hsv)."""
    hue_threshold: float = 0.03
    """An image below this standard deviation of the hue, 0 to 179, is monochrome (hsv)."""
    chroma_threshold: float = 10.0
    """An image is coloured from this chroma beside its tint on, in Lab units (lab)."""
    tint_limit: float = 40.0
    """A single tint is a colour from this strength on, in Lab units (lab)."""

    def check(self, problems: Problems) -> None:
        problems.one_of("method", self.method, MonochromeMethod)

    def kind(self, numbers: tuple[float, float]) -> Kind | None:
        """The verdict on an image from the numbers that its method measured."""
        first, second = numbers
        if self.method == "hsv":
            if first < self.saturation_threshold:
                return "greyscale"
            return "monochrome" if second < self.hue_threshold else None
        if second >= self.chroma_threshold or first >= self.tint_limit:
            return None
        return "greyscale" if first < GREY_TINT else "monochrome"


def examine(path: str | PathLike[str], method: MonochromeMethod) -> tuple[float, float]:
    """Measure an image file, transparency on white; ValueError names one that cannot be read."""

    def smaller(image: Image.Image) -> None:
        if method == "lab":  # a JPEG is decoded at a half, a quarter or an eighth
            image.draft(None, (2 * SIDE, 2 * SIDE))

    with opened(path, None, smaller) as image:
        is_plain = image.mode == "RGB" and "transparency" not in image.info
        pixels = np.asarray(image) if is_plain else flatten(image)
    return measure_lab(pixels) if method == "lab" else measure_hsv(pixels)


def measure_hsv(image: np.ndarray) -> tuple[float, float]:
    """Measure (H, W, 3) uint8 RGB: mean saturation, then the standard deviation of the hue."""
    means, deviations = cv2.meanStdDev(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    return float(means[1, 0]), float(deviations[0, 0])


def tag_kind(caption: str, kind: Kind | None, separator: str = SEPARATOR) -> str:
    """The caption with the kind as its last tag, unless it is there already; unchanged for None."""
    return caption if kind is None else merge(caption, [kind], "append", separator)
