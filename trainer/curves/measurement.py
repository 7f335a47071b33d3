"""What a validation found, as a run keeps it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from .students_t import quantile_95

QUANTILE_95 = 1.96
"""Standard errors to either side of a mean that hold 95 % of a normal distribution."""


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean of two values or more and its standard error; NaN where one is not finite."""
    if not all(map(math.isfinite, values)):
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


class Measurement(NamedTuple):
    """One validation: the mean difference to step 0, and how far other images would move it."""

    step: int
    difference: float
    error: float
    """1.96 of it to either side hold 95 %, by Student's t: the standard error where the images are many."""

    @classmethod
    def compare(
        cls, step: int, before: Sequence[float], now: Sequence[float], timesteps: int = 1
    ) -> Measurement:
        """Losses of the same images at ``timesteps`` each, one image after the other; two losses at least.

        The timesteps of one image go up and down together, so what counts is the mean of each image. Of one
        image alone its timesteps are compared: they say nothing of other images.
        """
        pairs = [new - old for old, new in zip(before, now, strict=True)]
        if not all(map(math.isfinite, pairs)):
            return cls(step, math.nan, math.nan)
        starts = range(0, len(pairs), timesteps)
        rows = [statistics.fmean(pairs[start : start + timesteps]) for start in starts]
        rows = rows if len(rows) > 1 else pairs
        _, error = mean_and_error(rows)
        reach = quantile_95(len(rows) - 1)
        return cls(step, statistics.fmean(pairs), reach * error / QUANTILE_95)

    def __str__(self) -> str:
        return f"{self.difference:+.5f} ± {QUANTILE_95 * self.error:.5f}"
