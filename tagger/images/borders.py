"""Bars of one colour on opposite sides of an image: letterboxes, pillars, frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = 20
"""Levels by which a bar's pixels may differ from its colour: JPEG ringing, grain."""

_STRAY = 0.02  # the share of a bar's row that may differ more
_EDGE = 0.5  # the share of the edge's length where the image behind it must differ more
_RAMP = 4  # rows within which it must, as scaling softens the edge
_THINNEST = 3
_MOST = 0.8  # an image that bars leave less than a fifth of is a flat ground


class Bars(NamedTuple):
    """Pixels that bars take on each side; a pair of opposite sides has both or none."""

    left: int
    top: int
    right: int
    bottom: int

    def share(self, width: int, height: int) -> float:
        """The share of an image of this size that is bars."""
        inner = (width - self.left - self.right) * (height - self.top - self.bottom)
        return 1 - inner / (width * height)


class _Side(NamedTuple):
    """The uniform rows at one side, their colour, and how far the pixels behind them differ from it."""

    depth: int
    colour: np.ndarray
    behind: np.ndarray


def find_bars(picture: np.ndarray) -> Bars:
    """The bars of (H, W, 3) uint8 RGB.

    A bar is straight and uniform, has its like on the opposite side, and ends abruptly over most of its
    length. So a figure on white, a vignette, a night sky and a single bar are none.
    """
    height, width = picture.shape[:2]
    rows = (_side(picture), _side(picture[::-1]))
    turned = picture.transpose(1, 0, 2)
    columns = (_side(turned), _side(turned[::-1]))
    top, bottom = _pair(*rows, height, *_depths(*columns, width))
    left, right = _pair(*columns, width, *_depths(*rows, height))
    return Bars(left, top, right, bottom)


def _side(picture: np.ndarray) -> _Side:
    """The uniform rows at the top of an image."""
    colour = np.median(picture[:2].reshape(-1, 3), axis=0).astype(np.int16)
    depth = 0
    for start in range(0, len(picture), 64):  # most images end the search in the first block
        strays = (_difference(picture[start : start + 64], colour) > TOLERANCE).mean(axis=1)
        uniform = strays <= _STRAY
        if not uniform.all():
            depth = start + int(uniform.argmin())
            break
    behind = _difference(picture[depth : depth + _RAMP], colour).max(axis=0)
    return _Side(depth, colour, behind)


def _difference(rows: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """The largest difference of the three channels, [H, W]."""
    difference = np.abs(rows.astype(np.int16) - colour)
    return np.maximum(np.maximum(difference[..., 0], difference[..., 1]), difference[..., 2])


def _depths(first: _Side, second: _Side, size: int) -> tuple[int, int]:
    """What two opposite sides may take away from the length of the others' edges."""
    both = first.depth + second.depth
    return (first.depth, size - second.depth) if both <= _MOST * size else (0, size)


def _pair(first: _Side, second: _Side, size: int, start: int, end: int) -> tuple[int, int]:
    """The depths of two opposite bars whose edges run from start to end; (0, 0) if they are none."""
    if min(first.depth, second.depth) < _THINNEST or first.depth + second.depth > _MOST * size:
        return 0, 0
    if np.abs(first.colour - second.colour).max() > TOLERANCE:
        return 0, 0
    edges = [(side.behind[start:end] > TOLERANCE).mean() for side in (first, second)]
    return (first.depth, second.depth) if min(edges) >= _EDGE else (0, 0)
