"""Watches a run for numbers that mean it is lost."""

from __future__ import annotations

import math
from typing import Any

MAX_BAD_STEPS = 3
SMOOTHING = 0.98
SETTLE = 100
"""Steps before the divergence alarm may sound; timestep noise dominates until then."""
ALARM_RATIO = 3.0


class Guard:
    """Counts non-finite steps and follows the smoothed loss (docs/design.md, "Non-finite steps")."""

    def __init__(self) -> None:
        self._bad = 0
        self._seen = 0
        self._smooth = 0.0
        self._lowest = math.inf
        self._alarmed = False

    def record(self, loss: float, *, applied: bool, excused: bool = False) -> None:
        """Take in one step. excused: skipped for a reason that passes by itself (fp16 overflow)."""
        if not math.isfinite(loss) or not (applied or excused):
            self._bad += 1
            return
        if excused:
            return
        self._bad = 0
        self._seen += 1
        self._smooth += (loss - self._smooth) * max(1 - SMOOTHING, 1 / self._seen)
        if self._seen >= SETTLE:
            self._lowest = min(self._lowest, self._smooth)

    def state(self) -> dict[str, Any]:
        """What it has seen, for `load`."""
        return dict(vars(self))

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        vars(self).update(state)

    @property
    def lost(self) -> bool:
        """Three non-finite steps in a row: going on would only burn time."""
        return self._bad >= MAX_BAD_STEPS

    def alarm(self, remedy: str = "lower the learning rate") -> str | None:
        """A sentence, once, when the smoothed loss has grown to a multiple of its lowest value.

        ``remedy``: what to do, as the end of the sentence.
        """
        if self._alarmed or self._smooth <= ALARM_RATIO * self._lowest:
            return None
        self._alarmed = True
        return (
            f"The smoothed loss ({self._smooth:.4f}) is more than {ALARM_RATIO:.0f} times its lowest "
            f"value ({self._lowest:.4f}): the run is diverging. Stop it and {remedy}."
        )
