"""What Curate Dataset measures of a picture, and the numbers above which it objects."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from .borders import Bars, find_bars
from .duplicates import perceptual_hash, thumbnail
from .sharpness import blur_radius

CheckMode = Literal["off", "report", "exclude"]
CHECK_MODES: tuple[CheckMode, ...] = get_args(CheckMode)

MEASURED_PIXELS = 1 << 20
"""Larger pictures are measured at this size, which is that of SDXL's buckets."""


@dataclass(frozen=True)
class CurateConfig:
    """What happens to pictures that a check finds, and each check's threshold; checked when made.

    Only what is beyond doubt is left out by default. A check finds what is above its threshold, and two
    near duplicates agree in at least the share ``agreement_threshold``.
    """

    exact_duplicates: CheckMode = "exclude"
    near_duplicates: CheckMode = "report"
    blurred: CheckMode = "report"
    too_small: CheckMode = "report"
    extreme_aspect: CheckMode = "report"
    borders: CheckMode = "report"
    agreement_threshold: float = 0.85
    blur_threshold: float = 0.65
    upscale_threshold: float = 1.25
    crop_threshold: float = 0.2
    border_threshold: float = 0.02

    def __post_init__(self) -> None:
        problems = [
            f"{field.name} is {mode!r}; choose one of {', '.join(CHECK_MODES)}."
            for field in fields(self)
            if isinstance(field.default, str)
            and (mode := getattr(self, field.name)) not in CHECK_MODES
        ]
        problems += [
            f"{name} is {getattr(self, name)}; it must be from 0 to 1."
            for name in ("agreement_threshold", "crop_threshold", "border_threshold")
            if not 0 <= getattr(self, name) <= 1
        ]
        problems += [
            f"{name} is {getattr(self, name)}; it must be above 0."
            for name in ("blur_threshold", "upscale_threshold")
            if not getattr(self, name) > 0
        ]
        if problems:
            raise ValueError("Curate Dataset: " + " ".join(problems))


class Quality(NamedTuple):
    """What was measured of a picture; bars in its own pixels, everything else without the bars.

    ``hash`` [HASH_BITS] bool and ``thumbnail`` [48, 48, 3] uint8 are for comparing pictures.
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

    Radii and bars are found at the size of buckets: bring larger pictures to ``at_measured_size`` first.
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
