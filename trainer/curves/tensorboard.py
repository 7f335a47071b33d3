"""TensorBoard's event files, written by `torch.utils.tensorboard` where the package `tensorboard` is installed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ...base.inside import inside
from ...base.write_errors import writing
from .measurement import QUANTILE_95
from .step_table import BAND_COLUMNS, SPANS, Row

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

TAGS = {
    "loss": "loss/step",
    "smoothed_loss": "loss/smoothed",
    "learning_rate": "training/learning_rate",
    "grad_norm": "training/grad_norm",
    "epoch": "training/epoch",
    "steps_per_second": "speed/steps_per_second",
    "vram_allocated": "speed/vram_allocated",
    "vram_reserved": "speed/vram_reserved",
    **{
        column: f"loss_by_timestep/{first}-{last}"
        for column, (first, last) in zip(BAND_COLUMNS, SPANS, strict=True)
    },
}
"""Column of the table -> name of its curve."""


def open_event_file(folder: Path, first: int) -> EventFile | None:
    """Curves of the steps after ``first``; None, and a note in the log, where TensorBoard is not available."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except (ImportError, AttributeError, TypeError) as error:  # the latter: its packages do not fit
        log.info(
            "LoRA Loop: no TensorBoard files: the package tensorboard in ComfyUI's Python is missing or "
            "does not fit the other packages (pip install --upgrade tensorboard): %s. The steps are in "
            "steps.csv either way.", error,
        )  # fmt: skip
        return None
    # TensorBoard reads a folder's files by name, which begins with the second, and forgets what it
    # has read of steps from purge_step on.
    inside(folder, folder.parent, follow=True)
    with writing(folder):
        return EventFile(SummaryWriter(str(folder), purge_step=first + 1), folder)


class EventFile:
    """The curves that ``writer`` draws of the rows; what is written is on the disk.

    The points of a row are one event: one for each would take several times as long.
    """

    def __init__(self, writer: SummaryWriter, folder: Path) -> None:
        self._writer, self._folder = writer, folder

    def write(self, row: Row) -> None:
        """A point on each curve that the row has a value for."""
        from torch.utils.tensorboard.summary import scalar

        values = {tag: row[column] for column, tag in TAGS.items()}
        difference, error = row["validation_difference"], row["validation_error"]
        if difference is not None and error is not None:
            margin = QUANTILE_95 * error
            values["validation/difference"] = difference
            values["validation/low"] = difference - margin
            values["validation/high"] = difference + margin
        points = [scalar(tag, value) for tag, value in values.items() if value is not None]
        for point in points[1:]:
            points[0].MergeFrom(point)
        events = self._writer.file_writer
        assert events is not None  # there is one until it is closed
        with writing(self._folder):
            events.add_summary(points[0], int(row["step"] or 0))
            self._writer.flush()

    def close(self) -> None:
        """Write no more."""
        with writing(self._folder):
            self._writer.close()
