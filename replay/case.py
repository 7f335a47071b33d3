"""One comparison with kohya's recorded numbers, and the refusal of settings that are not built yet."""

import math
from collections.abc import Iterable
from typing import NamedTuple


class Case(NamedTuple):
    """A replayed case: its largest absolute error and the bound that it must not pass."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the bound."""
        return self.error <= self.bound


class Unsupported(Exception):
    """A recorded setting that the pack does not support; the text names it."""


def largest(errors: Iterable[float]) -> float:
    """The largest error; NaN when one is NaN, which Python's max would pass over."""
    found = [float(error) for error in errors]
    return math.nan if any(map(math.isnan, found)) else max(found)
