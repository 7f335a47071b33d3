"""The loss by timestep: at which noise levels the model still learns, which one mean of all hides."""

from __future__ import annotations

import math
from collections import deque

import torch
from torch import Tensor

BANDS = 4
"""Timesteps are cut into so many bands of equal width, the least noisy first."""
SHOWINGS = 100
"""So many of the latest showings of a band are averaged."""


class BandLosses:
    """The mean loss of the latest showings in each band, of ``timesteps`` in all."""

    def __init__(self, timesteps: int) -> None:
        self._timesteps = timesteps
        self._latest: list[deque[float]] = [deque(maxlen=SHOWINGS) for _ in range(BANDS)]
        self._waiting: list[tuple[list[int], Tensor]] = []

    def add(self, timesteps: Tensor, losses: Tensor) -> None:
        """Take in a batch: its timesteps [B] int64 on the CPU and losses [B]; waits for no device."""
        self._waiting.append((timesteps.tolist(), losses.detach()))

    def means(self) -> tuple[float, ...]:
        """One mean for each band, NaN where no showing has been; losses that are not finite do not count."""
        if self._waiting:
            steps = [step for timesteps, _ in self._waiting for step in timesteps]
            losses = torch.cat([losses for _, losses in self._waiting]).tolist()
            self._waiting.clear()
            for step, loss in zip(steps, losses, strict=True):
                if math.isfinite(loss):
                    self._latest[step * BANDS // self._timesteps].append(loss)
        return tuple(sum(band) / len(band) if band else math.nan for band in self._latest)

    def state(self) -> list[list[float]]:
        """The latest losses of each band, for `load`."""
        return [list(band) for band in self._latest]

    def load(self, state: list[list[float]]) -> None:
        """Go on from `state`; an empty one is of a run that kept none."""
        for band, losses in zip(self._latest, state, strict=False):
            band.extend(losses)


def describe(means: tuple[float, ...], timesteps: int = 1000) -> str:
    """The bands that have a mean, with their first and last timestep: ``0-249 0.0312, ...``."""
    starts = [-(-timesteps * band // BANDS) for band in range(BANDS + 1)]
    return ", ".join(
        f"{first}-{after - 1} {mean:.4f}"
        for first, after, mean in zip(starts, starts[1:], means, strict=False)
        if not math.isnan(mean)
    )
