"""TensorBoard's event files, written by the `tensorboard` package where it is installed."""

from __future__ import annotations

import importlib
import logging
import time
from pathlib import Path

from .measurement import QUANTILE_95
from .step_table import BAND_COLUMNS, SPANS, Row

log = logging.getLogger(__name__)

EVENTS = "tensorboard.compat.proto.event_pb2"
SUMMARIES = "tensorboard.compat.proto.summary_pb2"
RECORDS = "tensorboard.summary.writer.record_writer"
"""Modules of the package; none of them imports TensorFlow or PyTorch."""

VERSION = "brain.Event:2"

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
    """An event file for the steps after ``first``; None, and a note in the log, without the package."""
    try:
        return EventFile(folder, first)
    except (ImportError, TypeError):  # TypeError: protobuf is too new for an old tensorboard
        log.info(
            "LoRA Loop: no TensorBoard files: the package tensorboard is not installed in ComfyUI's "
            "Python (pip install tensorboard). The steps are in steps.csv either way."
        )
        return None


class EventFile:
    """One more event file in ``folder``. It tells TensorBoard to forget what others say of its steps.

    Raises:
        ImportError: there is no `tensorboard`.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._events = importlib.import_module(EVENTS)
        self._summaries = importlib.import_module(SUMMARIES)
        records = importlib.import_module(RECORDS)
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files in the order of their names
        path = folder / f"events.out.tfevents.{time.time_ns():020}"
        self._file = path.open("xb")
        self._writer = records.RecordWriter(self._file)
        self._add(file_version=VERSION)
        log_entry = self._events.SessionLog(status=self._events.SessionLog.START)
        self._add(step=first + 1, session_log=log_entry)
        self._file.flush()

    def write(self, row: Row) -> None:
        """A point on each curve that the row has a value for."""
        values = {tag: row[column] for column, tag in TAGS.items()}
        difference, error = row["validation_difference"], row["validation_error"]
        if difference is not None and error is not None:
            margin = QUANTILE_95 * error
            values["validation/difference"] = difference
            values["validation/low"] = difference - margin
            values["validation/high"] = difference + margin
        points = [
            self._summaries.Summary.Value(tag=tag, simple_value=value)
            for tag, value in values.items()
            if value is not None
        ]
        step = int(row["step"] or 0)
        self._add(step=step, summary=self._summaries.Summary(value=points))
        self._file.flush()

    def close(self) -> None:
        """Write no more."""
        self._writer.close()

    def _add(self, **content: object) -> None:
        event = self._events.Event(wall_time=time.time(), **content)
        self._writer.write(event.SerializeToString())
