"""What Curate Dataset measures of an image, and the numbers above which it objects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np

from ...base.config import Config, Problems
from .borders import Bars, find_bars
from .duplicates import perceptual_hash, thumbnail
from .sharpness import blur_radius

CheckMode = Literal["off", "report", "exclude"]
_CHECKS = (
    "exact_duplicates", "near_duplicates", "blurred", "too_small", "extreme_aspect", "borders",
)  # fmt: skip
"""The fields that say what happens to what a check finds."""

MEASURED_PIXELS = 1 << 20
"""Larger images are measured at this size, which is that of SDXL's buckets."""


@dataclass(frozen=True)
class CurateConfig(Config):
    """What happens to images that a check finds, and each check's threshold.

    Only what is beyond doubt is left out by default.
    """

    title = "Curate Dataset"

    exact_duplicates: CheckMode = "exclude"
    """This happens to images whose pixels are those of a better one."""
    near_duplicates: CheckMode = "report"
    """This happens to images that show nearly the same as a better one."""
    blurred: CheckMode = "report"
    """This happens to images that are sharp nowhere."""
    too_small: CheckMode = "report"
    """This happens to images that must be enlarged too far to fill their bucket."""
    extreme_aspect: CheckMode = "report"
    """This happens to images of which the crop to their bucket takes too much."""
    borders: CheckMode = "report"
    """This happens to images with bars of one colour on opposite sides."""
    agreement_threshold: float = 0.85
    """Near duplicates agree in at least this share of the image, 0 to 1."""
    blur_threshold: float = 0.65
    """Blurred images have edges of more than this radius, above 0, in pixels of the measured size."""
    upscale_threshold: float = 1.25
    """Images that are too small must be enlarged by more than this factor, above 0."""
    crop_threshold: float = 0.2
    """The crop takes more than this share, 0 to 1, of an image of extreme aspect."""
    border_threshold: float = 0.02
    """Bars take more than this share of an image with borders, 0 to 1."""

    def check(self, problems: Problems) -> None:
        for name in _CHECKS:
            problems.one_of(name, getattr(self, name), CheckMode)
        for name in ("agreement_threshold", "crop_threshold", "border_threshold"):
            value = getattr(self, name)
            problems.need(0 <= value <= 1, f"{name} is {value}; it must be from 0 to 1")
        for name in ("blur_threshold", "upscale_threshold"):
            value = getattr(self, name)
            problems.need(value > 0, f"{name} is {value}; it must be above 0")


class Quality(NamedTuple):
    """What was measured of an image; bars in its own pixels, everything else without the bars.

    ``hash`` [HASH_BITS] bool and ``thumbnail`` [48, 48, 3] uint8 are for comparing images.
    """

    blur: float
    bars: Bars
    hash: np.ndarray
    thumbnail: np.ndarray


def at_measured_size(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB with at most MEASURED_PIXELS, averaged over areas; a smaller one as it is."""
    height, width = picture.shape[:2]
    scale = math.sqrt(MEASURED_PIXELS / (width * height))
    if scale >= 1:
        return picture
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def assess(picture: np.ndarray, size: tuple[int, int] | None = None) -> Quality:
    """Measure (H, W, 3) uint8 RGB; ``size`` is (width, height) of the original if this is smaller.

    Radii and bars are found at the size of buckets: bring larger images to ``at_measured_size`` first.
    """
    height, width = picture.shape[:2]
    bars = find_bars(picture)
    inner = picture[bars.top : height - bars.bottom, bars.left : width - bars.right]
    inner = np.ascontiguousarray(inner)
    across, down = (size[0] / width, size[1] / height) if size else (1.0, 1.0)
    scales = (across, down, across, down)
    return Quality(
        blur_radius(inner),
        Bars(*(math.ceil(bar * scale) for bar, scale in zip(bars, scales, strict=True))),
        perceptual_hash(inner),
        thumbnail(inner),
    )
