"""Images that are copies of each other, scaled, re-encoded, toned or slightly cropped.

Two steps. A perceptual hash finds candidates among thousands in seconds; of each candidate pair the
small versions are laid over each other and compared part by part, which tells a copy from another
drawing on the same ground or another figure in the same room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

HASH_BITS = 143
THUMBNAIL = 48
"""Side of the small versions."""

CANDIDATE_BITS = 40
"""Pairs whose hashes differ in at most this many bits are compared; unrelated ones differ in about 70."""

_HASH_SIDE, _FREQUENCIES = 48, 12
_FAINTEST_WAVE = 24.0  # half a level: what a JPEG makes of a plain ground
_ALIGN_SIDE = 24
_LEAST_OVERLAP = 0.6  # of two images moved over each other; less is no slight crop
_TILES = 6
_PLAIN = 8.0  # levels: less structure than this is none, less difference than this is none
_LIKE = 0.6  # a tile agrees if its difference is less than this share of its structure
_BLOCK = 512


class Match(NamedTuple):
    """An image and the better one that it is a copy of, by position, and how alike they are."""

    copy: int
    kept: int
    agreement: float


def perceptual_hash(picture: np.ndarray) -> np.ndarray:
    """[HASH_BITS] bool of (H, W, 3) uint8 RGB: which of the low frequencies are above the median."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(small)[:_FREQUENCIES, :_FREQUENCIES].ravel()[1:]
    waves[np.abs(waves) < _FAINTEST_WAVE] = 0
    return waves > np.median(waves)


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """[THUMBNAIL, THUMBNAIL, 3] uint8 of an image of any shape."""
    return cv2.resize(picture, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)


def find_copies(
    hashes: np.ndarray,
    thumbnails: np.ndarray,
    least: float | None,
    on_row: Callable[[int], None] | None = None,
) -> tuple[list[Match], np.ndarray]:
    """Copies among images that are given best first, and each one's distance to its nearest in bits.

    ``hashes`` [n, HASH_BITS] bool, ``thumbnails`` [n, 48, 48, 3] uint8. A copy is one of an image that
    is kept: what is only a copy of a copy stays. Pairs must agree in at least the share ``least``; None
    asks for the distances only. ``on_row`` hears, before each comparison, of which row, and may raise.
    """
    signs = np.where(hashes, np.float32(1), np.float32(-1)).reshape(len(hashes), HASH_BITS)
    nearest = np.full(len(signs), HASH_BITS)
    gone = np.zeros(len(signs), bool)
    matches: list[Match] = []
    for start in range(0, len(signs), _BLOCK):
        # Of ±1 the product is bits that agree minus bits that differ.
        distances = (HASH_BITS - signs[start : start + _BLOCK] @ signs.T) / 2
        rows = np.arange(start, start + len(distances))
        distances[rows - start, rows] = HASH_BITS
        nearest[rows] = distances.min(axis=1)
        if least is None:
            continue
        for row, near in zip(rows, distances <= CANDIDATE_BITS, strict=True):
            near[: row + 1] = False
            for other in () if gone[row] else np.flatnonzero(near & ~gone):
                if on_row is not None:
                    on_row(int(row))
                alike = agreement(thumbnails[row], thumbnails[other])
                if alike >= least:
                    gone[other] = True
                    matches.append(Match(int(other), int(row), alike))
    return matches, nearest


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """The share of two thumbnails, 0 to 1, that shows the same; plain ground that both have is left out.

    Lying as they are or moved over each other, whichever agrees better.
    """
    unmoved = _share_alike(first.astype(np.float32), second, np.ones(first.shape[:2], np.float32))
    if unmoved == 1:
        return unmoved
    laid, inside = _laid_over(first, second)
    if inside.mean() < _LEAST_OVERLAP:
        return unmoved
    return max(unmoved, _share_alike(laid, second, inside))


def _share_alike(first: np.ndarray, second: np.ndarray, inside: np.ndarray) -> float:
    """The share of tiles that agree, where the first lies on the second."""
    theirs = second.astype(np.float32)
    ours = _toned(first, theirs, inside)
    weights = inside[:, :, None]
    counts = np.maximum(_tile_means(inside), 1e-3)[:, :, None]

    def mean(values: np.ndarray) -> np.ndarray:
        return _tile_means(values * weights) / counts

    difference = np.sqrt(mean((ours - theirs) ** 2).mean(axis=2))
    variances = [mean(side**2) - mean(side) ** 2 for side in (ours, theirs)]
    shown = np.sqrt(np.maximum(sum(variances), 0).mean(axis=2) / 2)
    same = difference <= np.maximum(_PLAIN, _LIKE * shown)
    told = ~(same & (shown < _PLAIN / 2))
    if not told.any():  # nothing but plain ground: its colour decides
        return float(np.abs(first - theirs).mean() < _PLAIN)
    return float(same[told].mean())


def _laid_over(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first thumbnail, float32, moved and scaled to lie on the second, and where it does (0 or 1)."""
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second)]
    size = (_ALIGN_SIDE, _ALIGN_SIDE)
    ours, theirs = (cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in greys)
    move, whole = np.eye(2, 3, dtype=np.float32), np.ones(size, np.uint8)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 8, 1e-4)
    try:
        _, move = cv2.findTransformECC(theirs, ours, move, cv2.MOTION_AFFINE, stop, whole, 3)
    except cv2.error:  # the two have nothing in common
        return first.astype(np.float32), np.zeros(first.shape[:2], np.float32)
    move[:, 2] *= THUMBNAIL / _ALIGN_SIDE
    size, how = (THUMBNAIL, THUMBNAIL), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(first.astype(np.float32), move, size, flags=how)
    inside = cv2.warpAffine(np.ones(size, np.float32), move, size, flags=how) > 0.999
    return laid, inside.astype(np.float32)


def _toned(first: np.ndarray, second: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """With the brightness and contrast of the second; one of each, so that other colours stay other."""
    mask = inside.astype(np.uint8)
    (ours, our_spread), (theirs, their_spread) = (_level(side, mask) for side in (first, second))
    gain = min(max(their_spread / max(our_spread, 1e-3), 0.5), 2.0)
    return (first - ours) * gain + theirs


def _level(picture: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all three channels together, where the mask is 1."""
    means, deviations = cv2.meanStdDev(picture, mask=mask)
    mean = float(means.mean())
    return mean, max(0.0, float((means**2 + deviations**2).mean()) - mean**2) ** 0.5


def _tile_means(values: np.ndarray) -> np.ndarray:
    return cv2.resize(values, (_TILES, _TILES), interpolation=cv2.INTER_AREA)
