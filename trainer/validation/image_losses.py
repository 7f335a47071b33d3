"""The loss of every image on fixed noise of several seeds, and how two measurements of them compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..batches.training_data import TrainingData
from ..cache.latents import CachedItem
from ..config.measuring import MeasureConfig
from ..curves.measurement import mean_and_error
from ..curves.students_t import quantile_95
from ..training.step import Model
from .measure import Validation


def image_losses(
    model: Model,
    data: TrainingData,
    items: Sequence[CachedItem],
    config: MeasureConfig,
    before_batch: Callable[[], None],
) -> Tensor:
    """Losses [images, timesteps, seeds], float32 on the CPU: of each seed what a validation measures.

    ``data`` is that of the ``items``, whose captions are taken as they stand. ``before_batch`` is
    called before every forward and may raise.
    """
    if config.shared:
        items = [replace(item, digest="") for item in items]  # the noise of an image goes by it
    found = [
        Validation(data, items, config.validation(number)).losses(model, before_batch)
        for number in range(config.seeds)
    ]
    return torch.tensor(found).view(config.seeds, len(items), config.timesteps).permute(1, 2, 0)


class Difference(NamedTuple):
    """How losses differ, image by image: the mean, its standard error, and what it is the mean of."""

    mean: float
    error: float
    images: int
    timesteps: int
    seeds: int

    @property
    def half(self) -> float:
        """Half of the interval that holds 95 % of such means of other images, by Student's t."""
        return quantile_95(self.images - 1) * self.error

    def __str__(self) -> str:
        return (
            f"{self.told} ({self.images} images × {self.timesteps} timesteps × {self.seeds} seeds)"
        )

    @property
    def told(self) -> str:
        """The mean and its interval."""
        return f"{self.mean:+.5f} ± {self.half:.5f}"


def compare(before: Tensor, after: Tensor) -> Difference:
    """After minus before, both [images, timesteps, seeds] of the same images and noise.

    The error is that of the mean of so many images, each compared with itself: it says how far other
    images of the kind would move the mean. NaN where a loss is not finite.

    Raises:
        ValueError: they are not of the same shape, or of fewer than two images.
    """
    if before.shape != after.shape or len(before) < 2:
        raise ValueError(
            f"Losses of {tuple(before.shape)} and {tuple(after.shape)} images, timesteps and seeds "
            "cannot be compared: measure the same two or more images in the same way."
        )
    mean, error = mean_and_error((after.double() - before.double()).mean(dim=(1, 2)).tolist())
    return Difference(mean, error, *before.shape)
