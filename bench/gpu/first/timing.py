"""How long steps of ours take, for checks that compare two ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...data.scene import Scene
from ...peers.ours import Ours
from ..meter import Meter
from .verdicts import Place

STEPS = {1: (6, 15), 4: (4, 8)}
"""To warm up and timed, by batch size."""


def timed(ours: Ours, place: Place, batch: int) -> dict[str, Any]:
    """The row of a Meter, and the last loss."""
    warm, count = (1, 2) if place.small else STEPS[batch]
    meter = Meter(place.device, warm, count)
    ours.run(batch, meter.steps, meter)
    return meter.row(batch) | {"last_loss": ours.last_loss}


def make(scene: Scene, folder: Path, speed: dict[str, Any], **settings: Any) -> Ours:
    """Ours in compact layers with these settings of speed."""
    return Ours(scene, folder, **{"compact": True, "speed": speed} | settings)


def against(a: dict[str, Any], b: dict[str, Any]) -> str:
    """One figure for a verdict: the time of a where b takes its own."""
    less = 100 * (1 - a["ms"] / b["ms"])
    word = "less" if less >= 0 else "more"
    return f"{a['ms']:.1f} ms against {b['ms']:.1f} ms, {abs(less):.1f} % {word}"
