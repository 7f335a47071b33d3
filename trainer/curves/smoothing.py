"""The smoothed loss: one definition for the plot, the table of steps and TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Sequence

SPAN = 100
"""Steps that the smoothed loss is an average of, about."""


class Average:
    """Bias-corrected exponential moving average over about ``span`` values: a function of them all.

    Of values x_1 .. x_n it is sum(d^(n-i) x_i) / sum(d^(n-i)) with d = 1 - 1 / span. Non-finite values
    are passed over.
    """

    def __init__(self, span: int) -> None:
        self._decay, self._total, self._weight = 1.0 - 1.0 / max(1, span), 0.0, 0.0

    def add(self, value: float) -> float:
        """Take in a value; the average so far, NaN before the first finite one."""
        decay = self._decay
        if math.isfinite(value):
            self._total = decay * self._total + (1 - decay) * value
            self._weight = decay * self._weight + (1 - decay)
        return self._total / self._weight if self._weight else math.nan


def smooth(values: Sequence[float], span: int) -> list[float]:
    """The average after each value."""
    average = Average(span)
    return [average.add(value) for value in values]
