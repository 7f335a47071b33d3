"""When the state of a run is saved, and that a full disk is no reason to end it."""

from __future__ import annotations

import logging
import time

from ..training.loop import Loop, StepEvent
from .state_files import StateFiles

log = logging.getLogger(__name__)

STATE_STEPS, STATE_SECONDS = 250, 600.0
"""A state is saved after so many steps or seconds, whichever comes first, at the end, and when stopped."""


class StateKeeper:
    """Saves the state of a loop while it runs; ``step`` is the last step that is on disk."""

    def __init__(self, files: StateFiles, loop: Loop, step: int) -> None:
        self._files, self._loop = files, loop
        self._step, self._at = step, time.monotonic()

    def on_step(self, event: StepEvent) -> None:
        """Save when it is time."""
        waited = time.monotonic() - self._at
        done = event.step - self._step
        if done >= STATE_STEPS or waited >= STATE_SECONDS or event.step == event.steps:
            self.save()

    def save(self) -> None:
        """Keep what the run has reached, now. What cannot be written is a warning."""
        try:
            state = self._loop.state()
            if state is not None and state.step > self._step:
                self._files.save(state)
                self._step = state.step
        except (OSError, RuntimeError) as error:
            log.warning("LoRA Loop: the state of the run could not be saved: %s", error)
        self._at = time.monotonic()
