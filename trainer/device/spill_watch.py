"""Whether the driver has moved memory of the card into RAM, judged by the time of the steps.

On Windows a card that is full does not fail: the driver pages, and steps take many times as long. A
lasting jump of the step time while next to nothing of the card is free is taken for that. Steps are
compared by their time per pixel, so that buckets and smaller last batches do not matter much, and with
the run's own median.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

FIRST = 5
"""Steps that are not looked at: kernels are chosen, memory is asked for."""
CALM = 20
"""Steps that say how long one takes."""
LATEST = 8
"""Steps in a row that must be slow."""
SLOW = 2.5
"""Times the median at which a step is slow."""
SCARCE = 256 * 1024**2
"""Bytes; with fewer free the card is full."""

SAME_RUN = ("checkpointing full", "compact")
"""Changes after which the run goes on."""
CHANGES = (*SAME_RUN, "a smaller batch", "a lower rank", "smaller images")
"""What needs less memory."""
_SPILLED = "the driver has probably moved a part of it to RAM (shared memory)"
_PAGED = "ComfyUI brings them to the card for every use (dynamic VRAM)"
_CLOSE = "Or close other programs that use the card."
_MEND = (
    f"{_CLOSE} With 'CUDA - Sysmem Fallback Policy: Prefer No Sysmem Fallback' in the NVIDIA control panel such a "
    "step fails at once instead."
)


@dataclass(frozen=True)
class StepCost:
    """A step that was done."""

    seconds: float
    pixels: int
    """Of all its images."""
    free: int
    """Bytes of the card that nobody has, after the step."""
    beyond: int = 0
    """Bytes that this process has asked for beyond what the whole card has."""
    away: str | None = None
    """How much of the model's weights waits in RAM, in words, where the host pages them by itself and a
    full card is nothing unusual; empty: none."""


class SpillWatch:
    """Looks at the steps of one run, in their order. changes: those of CHANGES that it has not made."""

    def __init__(self, changes: Sequence[str] = CHANGES) -> None:
        self._changes = changes
        self._seen = 0
        self._calm: list[float] = []
        self._latest: deque[float] = deque(maxlen=LATEST)
        self._said = False

    def look(self, step: StepCost) -> str | None:
        """A sentence when memory has gone to RAM, once; else None."""
        self._seen += 1
        if self._said or self._seen <= FIRST:
            return None
        if step.beyond > 0:
            return self._say("More memory is in use than the card has")
        cost = step.seconds / max(step.pixels, 1)
        if len(self._calm) < CALM:
            self._calm.append(cost)
            return None
        usual = statistics.median(self._calm)
        self._latest.append(cost)
        full = step.free < SCARCE if step.away is None else step.away
        if len(self._latest) < LATEST or not full or min(self._latest) < SLOW * usual:
            return None
        slow = f"Steps take {statistics.median(self._latest) / usual:.1f} times as long as before"
        if step.away:
            return self._say(f"{slow} and {step.away} wait in RAM", _PAGED, _CLOSE)
        return self._say(f"{slow} and the card is full")

    def _say(self, what: str, why: str = _SPILLED, mend: str = _MEND) -> str:
        self._said = True
        same = [change for change in self._changes if change in SAME_RUN]
        goes_on = f" (with only {' and '.join(same)} changed the run goes on)" if same else ""
        return f"{what}: {why}. Cancel and queue again with {' or '.join(self._changes)}{goes_on}. {mend}"
