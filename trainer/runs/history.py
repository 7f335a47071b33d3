"""What is written down of every step, in the run's folder: a table, and TensorBoard's curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from ..curves import step_table
from ..curves.measurement import Measurement
from ..curves.resumes import add_resume
from ..curves.smoothing import SPAN, Average
from ..curves.step_table import BAND_COLUMNS, Row, StepTable
from ..curves.tensorboard import EventFile, open_event_file
from ..training.loop import StepEvent
from .troubles import Troubles


class History:
    """A follower of the steps, those after ``losses`` in the run's ``folder``.

    ``measurement`` gives the validation after a step. It must be told of a step after validation, and
    before the state of that step is saved.
    """

    def __init__(
        self,
        folder: Path,
        losses: Sequence[float],
        device: torch.device,
        measurement: Callable[[int], Measurement | None],
        troubles: Troubles | None = None,
    ) -> None:
        self._device, self._measurement = device, measurement
        self._average, self._seconds = Average(SPAN), 0.0
        for loss in losses:
            self._average.add(loss)
        self._troubles = troubles or Troubles(folder)
        with self._told():
            add_resume(folder, len(losses))
        self._sinks: list[StepTable | EventFile] = []
        with self._told():
            self._sinks.append(StepTable(folder / step_table.NAME, len(losses)))
        with self._told():
            events = open_event_file(folder / "tensorboard", len(losses))
            self._sinks += [] if events is None else [events]

    def on_step(self, event: StepEvent) -> None:
        """Write a row. What cannot be written is told, and no more is written there."""
        row = self._row(event)
        for sink in tuple(self._sinks):
            self._sinks.remove(sink)
            with self._told():
                sink.write(row)
                self._sinks.append(sink)

    def close(self) -> None:
        """No more steps."""
        for sink in self._sinks:
            with self._told():
                sink.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """An error in this block ends no training."""
        try:
            yield
        except OSError as error:
            self._troubles.tell("the history of the run", error)

    def _row(self, event: StepEvent) -> Row:
        took, self._seconds = event.seconds - self._seconds, event.seconds
        found = self._measurement(event.step)
        bands = zip(BAND_COLUMNS, event.bands, strict=False)
        on_card = self._device.type == "cuda"
        return {
            "step": event.step,
            "epoch": event.epoch,
            "loss": event.loss,
            "smoothed_loss": self._average.add(event.loss),
            "learning_rate": event.learning_rate,
            "grad_norm": event.grad_norm,
            "steps_per_second": 1 / took if took > 0 else None,
            "vram_allocated": torch.cuda.memory_allocated(self._device) if on_card else None,
            "vram_reserved": torch.cuda.memory_reserved(self._device) if on_card else None,
            "validation_difference": None if found is None else found.difference,
            "validation_error": None if found is None else found.error,
            **dict.fromkeys(BAND_COLUMNS),
            **{column: mean for column, mean in bands if not math.isnan(mean)},
        }
