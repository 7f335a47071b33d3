"""How blurred is the sharpest part of a picture? The width of its edges, in pixels.

A step edge that a Gaussian of radius r has blurred, blurred again by a and by b, has peak gradients in
the ratio sqrt((r² + b²) / (r² + a²)), whatever its contrast (Zhuo and Sim, Defocus map estimation from
a single image, 2011). Flat areas have no edges, and so no say.
"""

from __future__ import annotations

import cv2
import numpy as np

WIDEST = 10.0
"""The radius said of a picture with contrast but without an edge."""

_FINE, _COARSE = 0.7, 1.4  # the two blurs a and b
_TILE = 32
_DIRECTIONS = 4
_FAINTEST = 3.0  # levels a pixel: fainter gradients are shading or the blocks of a JPEG
_EDGES_PER_TILE = 6
_TILES_PER_DIRECTION = 4
_SHARPEST = 0.1  # the share of tiles that may be a sharp subject before a blurred ground
_CONTRAST = 10.0


def blur_radius(picture: np.ndarray) -> float:
    """Blur of the sharpest tenth of (H, W, 3) uint8 RGB, in pixels; 0 for crisp or for flat.

    The worst of four directions counts, as a shaken camera blurs only across its movement.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down, fine = _gradient(grey, _FINE)
    coarse = _gradient(grey, _COARSE)[2]
    peaks = fine >= cv2.dilate(fine, np.ones((3, 3), np.uint8)) * 0.98
    rows, columns = np.nonzero(peaks & (fine > max(_FAINTEST, _noise(grey))))
    if not rows.size:
        return WIDEST if grey.std() > _CONTRAST else 0.0
    ratio = np.maximum((fine[rows, columns] / (coarse[rows, columns] + 1e-6)) ** 2, 1 + 1e-3)
    squared = (_COARSE**2 - ratio * _FINE**2) / (ratio - 1)
    radii = np.sqrt(np.clip(squared, 0, WIDEST**2))
    angles = np.arctan2(down[rows, columns], across[rows, columns])
    directions = np.round(angles / np.pi * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    tiles = rows // _TILE * grey.shape[1] + columns // _TILE
    by_direction = [_sharpest(radii[directions == d], tiles[directions == d]) for d in range(4)]
    known = [radius for radius in by_direction if radius is not None]
    return float(max(known) if known else np.median(radii))


def _gradient(grey: np.ndarray, blur: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivatives across and down of the blurred picture, and their length, in levels a pixel."""
    soft = cv2.GaussianBlur(grey, (0, 0), blur)
    across = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=1 / 8)
    return across, down, cv2.magnitude(across, down)


def _noise(grey: np.ndarray) -> float:
    """Standard deviation of the grain, from the median answer of a mask that cancels edges.

    Immerkær, Fast noise variance estimation, 1996; the median instead of his mean.
    """
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    return float(np.median(np.abs(cv2.filter2D(grey, -1, mask)))) * 1.4826


def _sharpest(radii: np.ndarray, tiles: np.ndarray) -> float | None:
    """The radius that a tenth of the tiles stay below; None where edges are too few to tell."""
    order = np.lexsort((radii, tiles))
    _, starts, counts = np.unique(tiles[order], return_index=True, return_counts=True)
    full = counts >= _EDGES_PER_TILE
    if full.sum() < _TILES_PER_DIRECTION:
        return None
    medians = radii[order][starts[full] + counts[full] // 2]
    return float(np.quantile(medians, _SHARPEST))
