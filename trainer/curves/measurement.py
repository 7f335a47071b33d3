"""What a validation found, as a run keeps it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

QUANTILE_95 = 1.96
"""Standard errors to either side of a mean that hold 95 % of a normal distribution."""


class Measurement(NamedTuple):
    """One validation: the mean difference to step 0 and its standard error, of all measurements."""

    step: int
    difference: float
    error: float

    @classmethod
    def compare(cls, step: int, before: Sequence[float], now: Sequence[float]) -> Measurement:
        """Losses of the same images and timesteps, pair by pair; two at least."""
        pairs = [new - old for old, new in zip(before, now, strict=True)]
        if not all(math.isfinite(pair) for pair in pairs):
            return cls(step, math.nan, math.nan)
        return cls(step, statistics.fmean(pairs), statistics.stdev(pairs) / math.sqrt(len(pairs)))

    def __str__(self) -> str:
        return f"{self.difference:+.5f} ± {QUANTILE_95 * self.error:.5f}"
