"""Whether settings differ by more than their seeds do: Student's t on the held-out difference of runs."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..curves.students_t import two_sided

ERROR = 0.02
"""So often at most, settings that are the same are said to differ, in all comparisons of a sweep together."""


class Contrast(NamedTuple):
    """Two settings, the better one first, by the held-out differences of their runs."""

    better: str
    worse: str
    apart: float
    """How far their means over seeds are apart, 0 or more."""
    chance: float
    """How often seeds alone would bring two equal settings as far apart, all pairs taken into account."""

    @property
    def is_real(self) -> bool:
        """Whether that is more than seeds do."""
        return self.chance < ERROR


class Spread(NamedTuple):
    """How far runs of one setting are apart by their seeds alone."""

    deviation: float
    """Standard deviation of a run's held-out difference over seeds, pooled over settings."""
    freedom: int
    """Degrees of freedom: runs less settings; 0 where each setting has one seed."""


def spread_over_seeds(values: Mapping[str, Sequence[float]]) -> Spread:
    """The pooled spread of each setting's finite values about their mean; NaN without two of any."""
    squares, freedom = 0.0, 0
    for found in values.values():
        if len(found) > 1:
            mean = statistics.fmean(found)
            squares += sum((value - mean) ** 2 for value in found)
            freedom += len(found) - 1
    return Spread(math.sqrt(squares / freedom) if freedom else math.nan, freedom)


def contrasts(values: Mapping[str, Sequence[float]]) -> list[Contrast]:
    """All pairs of settings by how far they are apart, the furthest first; none without several seeds.

    ``values``: the held-out difference of every run by setting, lower is better. Each pair is judged by
    Student's t with the pooled spread, which takes the spread over seeds to be the same in all settings,
    and Bonferroni's correction for the number of pairs.
    """
    spread = spread_over_seeds(values)
    if not spread.freedom:
        return []
    means = {setting: statistics.fmean(found) for setting, found in values.items() if found}
    pairs = list(itertools.combinations(sorted(means, key=lambda name: means[name]), 2))
    found = []
    for better, worse in pairs:
        apart = means[worse] - means[better]
        error = spread.deviation * math.sqrt(1 / len(values[better]) + 1 / len(values[worse]))
        t = apart / error if error else math.inf if apart else 0.0
        chance = min(1.0, two_sided(t, spread.freedom) * len(pairs))
        found.append(Contrast(better, worse, apart, chance))
    return sorted(found, key=lambda one: -one.apart)
