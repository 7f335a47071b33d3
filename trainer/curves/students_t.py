"""Student's t, for means of a few numbers."""

from __future__ import annotations

import math
from functools import cache


@cache
def quantile_95(freedom: int) -> float:
    """Standard errors to either side of a mean that hold 95 % of Student's t; 1.96 for many degrees of freedom."""
    low, high = 0.0, 100.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > 0.05 else (low, middle)
    return high


def two_sided(t: float, freedom: int) -> float:
    """The probability that Student's t is further from 0 than ``t``, 0 or more; for whole degrees of freedom.

    The finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for number in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (number - 1) / number
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return min(1.0, max(0.0, 1.0 - inside))
