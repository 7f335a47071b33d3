"""Masks that another program made for a dataset's images, in its order, kept as files by content."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ..sdxl.buckets import Size
from .dataset import Dataset, Sample
from .given_captions import check_count
from .save_images import save_png


class Masked(NamedTuple):
    """A dataset with masks, and the names of images of which nothing or everything is left to learn."""

    dataset: Dataset
    empty: tuple[str, ...]
    full: tuple[str, ...]


def with_masks(
    dataset: Dataset,
    masks: Sequence[np.ndarray],
    folder: Path,
    blur: float = 0.0,
    invert: bool = False,
) -> Masked:
    """The dataset with these masks, float [H, W] in 0..1, white to learn; other masks are forgotten.

    ``blur``: the standard deviation of a Gaussian in percent of the mask's longer side; ``invert``:
    black to learn, turned round before it is blurred. Each becomes a PNG below ``folder`` that is
    named by its contents.

    Raises:
        ValueError: there is not one for each image, or one has another shape than its image.
    """
    check_count(dataset, len(masks), "masks")
    for (_, sample), mask in zip(dataset.samples(), masks, strict=True):
        _check_shape(sample, mask)
    empty: list[str] = []
    full: list[str] = []
    waiting = iter(masks)

    def masked(sample: Sample) -> Sample:
        grey = _grey(next(waiting), blur, invert)
        for names, level in ((empty, 0), (full, 255)):
            if (grey == level).all():
                names.append(sample.path.name)
        path, digest = save_png(grey, folder)
        return dataclasses.replace(sample, mask=path, mask_digest=digest)

    return Masked(dataset.replace_samples(masked), tuple(empty), tuple(full))


def has_shape(size: Size, picture: Size) -> bool:
    """Whether a mask of this (width, height) has the shape of an image's, to a pixel."""
    (width, height), (wide, high) = size, picture
    return abs(width * high - height * wide) <= max(*size, *picture)


def _check_shape(sample: Sample, mask: np.ndarray) -> None:
    (height, width), (wide, high) = mask.shape, sample.size
    if not has_shape((width, height), sample.size):
        raise ValueError(
            f"The mask for {sample.path.name} is {width} x {height} pixels and the image {wide} x {high}: "
            "give it the image's shape (its size may differ), and the masks in the dataset's order."
        )


def _grey(mask: np.ndarray, blur: float, invert: bool) -> np.ndarray:
    """uint8 [H, W]."""
    values = np.clip(np.nan_to_num(mask.astype(np.float32)), 0, 1)
    if invert:
        values = 1 - values
    sigma = blur / 100 * max(values.shape)
    if sigma > 0:
        values = cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.rint(values * 255).astype(np.uint8)
