"""Is a picture greyscale or of one hue? The two HSV tests of the author's script.

All numbers are OpenCV's own for uint8: hue 0..179, saturation 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Literal, get_args

import cv2
import numpy as np

from .captions import SEPARATOR, merge
from .preprocess import read_rgb

Kind = Literal["greyscale", "monochrome"]
"""The tag that such a picture gets; a coloured one has None."""

MonochromePolicy = Literal["tag", "exclude", "down-weight"]
MONOCHROME_POLICIES: tuple[MonochromePolicy, ...] = get_args(MonochromePolicy)

SATURATION_THRESHOLD = 0.001
HUE_THRESHOLD = 0.03


@dataclass(frozen=True)
class Measurement:
    """What was measured of a picture, and the verdict."""

    saturation_mean: float
    hue_std: float
    kind: Kind | None


def measure(
    image: np.ndarray,
    saturation_threshold: float = SATURATION_THRESHOLD,
    hue_threshold: float = HUE_THRESHOLD,
) -> Measurement:
    """Measure (H, W, 3) uint8 RGB: mean saturation, then the standard deviation of the hue."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"a picture must be uint8 RGB of shape (height, width, 3), got {image.dtype} "
            f"{image.shape}; convert it first"
        )
    means, deviations = cv2.meanStdDev(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    saturation, hue = float(means[1, 0]), float(deviations[0, 0])
    if saturation < saturation_threshold:
        return Measurement(saturation, hue, "greyscale")
    return Measurement(saturation, hue, "monochrome" if hue < hue_threshold else None)


def examine(
    path: str | PathLike[str],
    saturation_threshold: float = SATURATION_THRESHOLD,
    hue_threshold: float = HUE_THRESHOLD,
) -> Measurement:
    """Measure a file, transparency on white; ValueError names a file that cannot be read."""
    return measure(read_rgb(path), saturation_threshold, hue_threshold)


def tag_kind(caption: str, kind: Kind | None, separator: str = SEPARATOR) -> str:
    """The caption with the kind as its last tag, unless it is there already; unchanged for None."""
    return caption if kind is None else merge(caption, [kind], "append", separator)
