"""Has an image any colour besides that of its paper and ink? A test in CIE Lab on a small copy.

The tint of a scan or print is a smooth function of brightness and has one hue: a yellowed page,
sepia, a blue cast. It is fitted and taken away; what chroma is left is colour. The copy is small, so
that the colour noise of JPEG and of sensors averages out, and as bright as its brightest parts allow,
so that an image at night counts like one by day.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 128
"""The longest side of the small copy, in pixels."""

COLOURED_AREA = 0.01
"""What share of the image must be coloured to count."""

_BINS = 50  # of brightness, the mean of red, green and blue: it grows on where red is clipped
_LEAST_SHARE = 0.001  # of the pixels; emptier bins have no tint of their own
_STEEPEST = 4.0  # change of the tint from bin to bin; paint on a page changes faster
_DARKEST = 0.25  # darker images are brightened as if this were their brightest value


def measure_lab(image: np.ndarray) -> tuple[float, float]:
    """Measure (H, W, 3) uint8 RGB: the tint where it is strongest, and the chroma beside the tint.

    Both in Lab units; `COLOURED_AREA` of the image has at least the second.
    """
    rgb = _exposed(_small(image))
    chroma = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).reshape(-1, 3)[:, 1:].astype(np.float64)
    hue = np.linalg.eigh(chroma.T @ chroma)[1][:, 1]  # of the tint: the main direction of a and b
    across = chroma @ np.array([-hue[1], hue[0]])
    along = chroma @ hue
    along *= np.sign(along.sum()) or 1.0
    bins = np.minimum(rgb.mean(axis=2).ravel() * _BINS, _BINS - 1).astype(np.int64)
    tint = _tint(along, bins)
    beside = np.hypot(along - tint[bins], across)
    strongest = tint[np.bincount(bins, minlength=_BINS) >= _LEAST_SHARE * len(bins)].max()
    return float(strongest), float(np.quantile(beside, 1 - COLOURED_AREA))


def _small(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _exposed(image: np.ndarray) -> np.ndarray:
    """float32 RGB 0..1, one hundredth of the pixels at full brightness."""
    unit = image.astype(np.float32) / 255
    brightest = np.quantile(unit.max(axis=2), 0.99)
    return np.minimum(unit / max(float(brightest), _DARKEST), 1.0).astype(np.float32)


def _tint(along: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """The tint per bin of brightness: the bins' medians, as far as they are no steeper than allowed.

    It is the mean of the largest curve below and the smallest curve above the medians that are
    nowhere steeper: both are the medians themselves where these change slowly.
    """
    counts = np.bincount(bins, minlength=_BINS)
    groups = np.split(along[np.argsort(bins, kind="stable")], np.cumsum(counts)[:-1])
    used = np.flatnonzero(counts >= _LEAST_SHARE * len(bins))
    medians = np.array([np.median(groups[place]) for place in used])
    distance = np.abs(np.arange(_BINS)[:, None] - used) * _STEEPEST
    below, above = (medians + distance).min(axis=1), (medians - distance).max(axis=1)
    return np.maximum((below + above) / 2, 0.0)
