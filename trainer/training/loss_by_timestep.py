"""The loss by timestep: at which noise levels the model still learns, which one mean of all hides."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from ..sdxl.constants import TIMESTEPS

BANDS = 4
"""Timesteps are cut into so many bands of equal width, the least noisy first."""
SAMPLES = 100
"""So many of the latest samples of a band are averaged."""


class BandLosses:
    """The mean loss of the latest samples in each band, of ``timesteps`` in all."""

    def __init__(self, timesteps: int) -> None:
        self._timesteps = timesteps
        self._latest: list[deque[float]] = [deque(maxlen=SAMPLES) for _ in range(BANDS)]

    def add(self, timesteps: Sequence[int], losses: Sequence[float]) -> None:
        """Take in a batch: a timestep and a loss for each sample; one that is not finite does not count."""
        for step, loss in zip(timesteps, losses, strict=True):
            if math.isfinite(loss):
                self._latest[step * BANDS // self._timesteps].append(loss)

    def means(self) -> tuple[float, ...]:
        """One mean for each band, NaN where no sample has been."""
        return tuple(sum(band) / len(band) if band else math.nan for band in self._latest)

    def state(self) -> list[list[float]]:
        """The latest losses of each band, for `load`."""
        return [list(band) for band in self._latest]

    def load(self, state: list[list[float]]) -> None:
        """Go on from `state`; an empty one is of a run that kept none."""
        for band, losses in zip(self._latest, state, strict=False):
            band.extend(losses)


def describe(means: tuple[float, ...], timesteps: int = TIMESTEPS) -> str:
    """The bands that have a mean, with their first and last timestep: ``0-249 0.0312, ...``."""
    starts = [-(-timesteps * band // BANDS) for band in range(BANDS + 1)]
    return ", ".join(
        f"{first}-{after - 1} {mean:.4f}"
        for first, after, mean in zip(starts, starts[1:], means, strict=False)
        if not math.isnan(mean)
    )
