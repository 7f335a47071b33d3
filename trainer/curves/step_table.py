"""The table of steps of a run: a CSV file that stays whole when the process is killed, and goes on later."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ...base.small_file import TABLE_BYTES, read_small
from ...base.write_errors import writing
from ..files.atomic import write_atomically
from ..sdxl.constants import TIMESTEPS
from ..training.loss_by_timestep import BANDS

NAME = "steps.csv"

SPANS = tuple(
    (TIMESTEPS * band // BANDS, TIMESTEPS * (band + 1) // BANDS - 1) for band in range(BANDS)
)
"""First and last timestep of the bands whose losses are told apart (see trainer/training/loss_by_timestep.py)."""
BAND_COLUMNS = tuple(f"loss_{first}_{last}" for first, last in SPANS)

COLUMNS = (
    "step", "epoch", "loss", "smoothed_loss", "learning_rate", "grad_norm", "steps_per_second",
    "vram_allocated", "vram_reserved", "validation_difference", "validation_error", *BAND_COLUMNS,
)  # fmt: skip
"""Of the table. Memory in bytes; validation: mean difference to step 0 and its error (see Measurement)."""

_HEAD = ",".join(COLUMNS)
_LINE = re.compile(r"[0-9]{1,12}(?:,(?:-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?|nan|-?inf)?)*")
"""The number of a step, and numbers or nothing."""

Row = Mapping[str, float | None]
"""What is known of a step, by column; None: nothing."""


class StepTable:
    """A CSV file with a line for each step; those after step ``first`` are cut off at the start.

    A line is written in one piece, so that a killed process leaves whole lines.
    """

    def __init__(self, path: Path, first: int) -> None:
        self._path = path
        kept = [_HEAD, *(line for step, line in table_lines(path) if step <= first)]
        write_atomically(path, ("\n".join(kept) + "\n").encode(), root=path.parent)

    def write(self, row: Row) -> None:
        """Append the row's line."""
        cells = (row[column] for column in COLUMNS)
        line = ",".join("" if cell is None else repr(cell) for cell in cells)
        with writing(self._path), self._path.open("ab", buffering=0) as file:
            file.write(f"{line}\n".encode())

    def close(self) -> None:
        """Nothing is open between lines."""


def table_lines(path: Path) -> list[tuple[int, str]]:
    """(step, line) of the whole lines of a table with today's columns, in order and without gaps."""
    try:
        text = read_small(path, TABLE_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):  # there is none, or none that can be read: it begins here
        return []
    first, *others = text.split("\n")[:-1] or [""]  # what follows the last line end is torn
    found: list[tuple[int, str]] = []
    for line in others if first == _HEAD else ():
        if not _LINE.fullmatch(line) or line.count(",") != _HEAD.count(","):
            break
        step = int(line.partition(",")[0])
        if found and step != found[-1][0] + 1:
            break
        found.append((step, line))
    return found
