"""How blurred is the sharpest part of an image? The width of its edges, in pixels.

A step edge that a Gaussian of radius r has blurred, blurred again by a and by b, has peak gradients in
the ratio sqrt((r² + b²) / (r² + a²)), whatever its contrast (Zhuo and Sim, Defocus map estimation from
a single image, 2011). Flat areas have no edges, and so no say.
"""

from __future__ import annotations

import cv2
import numpy as np

WIDEST = 10.0
"""The radius said of an image with contrast but without an edge."""

_FINE, _COARSE = 0.7, 1.4  # the two blurs a and b
_OWN_BLUR = 1 / 3  # r² of the difference of two pixels that are two apart, as Sobel's
_TILE = 32
_EDGES_PER_TILE = 8
_SHARPEST = 0.15  # the share of tiles that may be a sharp subject before a blurred ground
_FEWEST_TILES = 4
_DIRECTIONS = 4
_FEWEST_EDGES = 12  # and this share of all, for a direction to count
_FEWEST_EDGES_SHARE = 0.02
_FAINTEST = 3.0  # levels a pixel: fainter gradients are shading or the blocks of a JPEG
_CONTRAST = 10.0


def blur_radius(picture: np.ndarray) -> float:
    """Blur of the sharpest part of (H, W, 3) uint8 RGB, in pixels; 0 for crisp or for flat.

    The worst of four directions counts, as a shaken camera blurs only along its movement.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down, fine = _gradient(grey, _FINE)
    coarse = _gradient(grey, _COARSE)[2]
    peaks = fine >= cv2.dilate(fine, np.ones((3, 3), np.uint8)) * 0.98
    edges = np.nonzero(peaks & (fine > max(_FAINTEST, _noise(grey))))
    if not edges[0].size:
        return WIDEST if grey.std() > _CONTRAST else 0.0
    ratio = np.maximum((fine[edges] / (coarse[edges] + 1e-6)) ** 2, 1 + 1e-3)
    squared = (_COARSE**2 - ratio * _FINE**2) / (ratio - 1) - _OWN_BLUR
    radii = np.sqrt(np.clip(squared, 0, WIDEST**2))
    angles = np.arctan2(down[edges], across[edges])
    directions = np.round(angles / np.pi * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    tiles = edges[0] // _TILE * grey.shape[1] + edges[1] // _TILE
    sharpest = _in_sharpest_tiles(radii, tiles)
    return _worst_direction(radii[sharpest], directions[sharpest])


def _gradient(grey: np.ndarray, blur: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivatives across and down of the blurred image, and their length, in levels a pixel."""
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


def _in_sharpest_tiles(radii: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    """Which edges lie in the tiles whose median radius is smallest; all where no tile has enough."""
    order = np.lexsort((radii, tiles))
    names, starts, counts = np.unique(tiles[order], return_index=True, return_counts=True)
    full = counts >= _EDGES_PER_TILE
    if not full.any():
        return np.ones(len(radii), bool)
    medians = radii[order][starts[full] + counts[full] // 2]
    count = max(_FEWEST_TILES, int(np.ceil(_SHARPEST * len(medians))))
    return np.isin(tiles, names[full][np.argsort(medians, kind="stable")[:count]])


def _worst_direction(radii: np.ndarray, directions: np.ndarray) -> float:
    """The largest of the directions' median radii; of all edges where no direction has enough."""
    needed = max(_FEWEST_EDGES, _FEWEST_EDGES_SHARE * len(radii))
    groups = [radii[directions == direction] for direction in range(_DIRECTIONS)]
    medians = [np.median(group) for group in groups if len(group) >= needed]
    return float(max(medians) if medians else np.median(radii))
