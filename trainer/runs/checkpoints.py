"""Checkpoints of a run: intermediate LoRA files, and old ones taken away as kohya does it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ...base.inside import OutsideError, inside
from ..config.checkpoints import CheckpointConfig
from ..files.atomic import PARTIALS
from ..lora_files.file import read_own_lora, with_checksum, write_lora
from ..training.loop import Loop, StepEvent
from .troubles import Troubles

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
"""Below the run's folder."""


class Checkpoints:
    """Writes the files that ``config`` asks for into ``folder``; follows the steps of a loop.

    A file that is there, and whole, stays as it is: after a resume the same step is done again. So a checkpoint
    has to be written before the state of its step is saved.
    """

    def __init__(
        self,
        folder: Path,
        config: CheckpointConfig,
        loop: Loop,
        epochs: int,
        metadata: Callable[[int], Mapping[str, str]],
        troubles: Troubles | None = None,
        written: Callable[[int], None] = lambda step: None,
    ) -> None:
        """``epochs``: of the whole run. ``metadata``: of a LoRA of that many steps. ``written``: told of
        the step of every file."""
        self._folder, self._config, self._loop = folder, config, loop
        self._metadata, self._troubles = metadata, troubles or Troubles(folder)
        self._written = written
        self._epochs_between = config.epochs_between(epochs)
        self._at = time.monotonic()
        for partial in folder.glob(PARTIALS):  # of a process that was killed
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def on_step(self, event: StepEvent) -> None:
        """Write what is due after a step."""
        self.write(event.step, event.epoch if event.ends_epoch else 0, event.steps)

    def write(self, step: int, ended: int, steps: int) -> None:
        """Write what is due after ``step`` of ``steps``. What cannot be written is told.

        ``ended``: the epoch (from 1) that ends with this step, or 0. To be called as well for the step
        that a run goes on from: it may have been cut off there, or have been the last one.
        """
        try:
            self._by_step(step)
            if step < steps:  # kohya: the last epoch's is the result
                self._by_epoch(step, ended)
        except (OSError, OutsideError) as error:
            self._troubles.tell("a checkpoint", error)

    def write_now(self, step: int) -> Path | None:
        """Write the checkpoint of ``step``, due or not. None, and it is told, where that cannot be."""
        name = self._config.step_file(step)
        try:
            self._write(name, step)
        except (OSError, OutsideError) as error:
            self._troubles.tell("a checkpoint", error)
            return None
        return self._folder / name

    def _by_step(self, step: int) -> None:
        config = self._config
        is_due = config.every_steps > 0 and step % config.every_steps == 0
        minutes = (time.monotonic() - self._at) / 60
        if is_due or 0 < config.every_minutes <= minutes:
            self._write(config.step_file(step), step)
        if is_due:
            self._remove(config.step_to_remove(step), config.step_file)

    def _by_epoch(self, step: int, ended: int) -> None:
        between = self._epochs_between
        if between and ended and ended % between == 0:
            self._write(self._config.epoch_file(ended), step)
            self._remove(self._config.epoch_to_remove(ended, between), self._config.epoch_file)

    def _write(self, name: str, step: int) -> None:
        self._at = time.monotonic()
        path = self._folder / name
        if path.exists():
            try:
                read_own_lora(path)
                return
            except ValueError as problem:
                log.warning("LoRA Loop: %s; it is written again", problem)
        inside(path, self._folder.parent)
        tensors, precision = self._loop.tensors(), self._config.precision
        write_lora(path, tensors, with_checksum(self._metadata(step)), precision)
        log.info("LoRA Loop: checkpoint %s", name)
        self._written(step)

    def _remove(self, number: int | None, name: Callable[[int], str]) -> None:
        if number is not None:
            (self._folder / name(number)).unlink(missing_ok=True)
