"""Measures the held-out images during training, keeps the best adapters, and ends a run that gets no better."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..config.validation import ValidationConfig
from ..lora_files.file import LoraModel
from ..training.loop import Loop, StepEvent
from .book import ValidationBook

log = logging.getLogger(__name__)

_MEASURED, _BEST = "the validation", "the LoRA of the best validation"


class Validator:
    """A follower of the steps; it must be told of a step before the state of that step is saved.

    ``measure`` gives the losses of the held-out images with the adapters as they are, ``adapters``
    what is to be kept after so many steps.
    """

    def __init__(
        self,
        book: ValidationBook,
        settings: ValidationConfig,
        loop: Loop,
        measure: Callable[[], list[float]],
        adapters: Callable[[int], LoraModel],
    ) -> None:
        self._book, self._settings, self._loop = book, settings, loop
        self._measure, self._adapters = measure, adapters

    def begin(self) -> None:
        """Before the first step: measure what all later ones are compared with."""
        if self._book.due and not self._book.has(0):
            self._write(0)

    def on_step(self, event: StepEvent) -> str | None:
        """Validate when it is due; the sentence that ends the run when its patience is at an end."""
        book, step = self._book, event.step
        if step not in book.due:
            return None
        if not book.has(step):  # an earlier attempt that was killed may have got here
            self._write(step)
        log.info("LoRA Loop: validation after step %d: %s", step, book.measurement(step))
        is_best = book.course(step).best == step
        if self._settings.keep_best and is_best and not book.has_best(step):
            self._keep(step)
        return book.verdict(step)

    def _write(self, step: int) -> None:
        """Measure; a full disk is no reason to end a run."""
        with self._loop.averaged():
            losses = self._measure()
        try:
            self._book.add(step, losses)
            self._book.troubles.settle(_MEASURED)
        except OSError as error:
            self._book.troubles.tell(_MEASURED, error, "saved")

    def _keep(self, step: int) -> None:
        try:
            self._book.keep(step, self._adapters(step))
            self._book.troubles.settle(_BEST)
        except OSError as error:
            self._book.troubles.tell(_BEST, error, "saved")
