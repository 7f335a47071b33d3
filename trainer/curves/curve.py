"""The curve of a run, read from its table of steps: as many points as a page can draw."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .step_table import COLUMNS, NAME, table_lines

MOST_POINTS = 2000
"""Of a curve. Steps with a validation come beside these."""

_STEP, _LOSS, _SMOOTHED, _RATE, _SPEED, _DIFFERENCE = (
    COLUMNS.index(name)
    for name in (
        "step", "loss", "smoothed_loss", "learning_rate", "steps_per_second", "validation_difference",
    )
)  # fmt: skip


def read_curve(run: Path, most: int = MOST_POINTS) -> dict[str, list[Any]]:
    """What is known of the steps of a run, as columns of equal length.

    ``steps``; ``seconds`` of computing since the first step; ``loss``, ``smoothed`` (see
    `trainer/curves/smoothing.py`), ``rate`` (the learning rate) and ``difference`` (of the validation to
    step 0). None stands for what is not known or not finite. All lists are empty where there is no table.
    """
    rows, seconds = [], 0.0
    for _, line in table_lines(run / NAME):
        cells = line.split(",")
        speed = _number(cells[_SPEED])
        seconds += 1 / speed if speed else 0.0
        rows.append((seconds, cells))
    every = math.ceil(len(rows) / most) or 1
    chosen = [
        (seconds, cells)
        for place, (seconds, cells) in enumerate(rows, start=1)
        if place % every == 0 or place in (1, len(rows)) or cells[_DIFFERENCE]
    ]
    return {
        "steps": [int(cells[_STEP]) for _, cells in chosen],
        "seconds": [round(seconds, 2) for seconds, _ in chosen],
        **{
            name: [_number(cells[column]) for _, cells in chosen]
            for name, column in (
                ("loss", _LOSS), ("smoothed", _SMOOTHED), ("rate", _RATE), ("difference", _DIFFERENCE),
            )
        },
    }  # fmt: skip


def _number(cell: str) -> float | None:
    value = float(cell) if cell else math.nan
    return value if math.isfinite(value) else None
