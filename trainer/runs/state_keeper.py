"""When the state of a run is saved, and that a full disk is no reason to end it."""

from __future__ import annotations

import time

from ..training.loop import Loop, StepEvent
from .state_files import StateFiles
from .troubles import Troubles

STATE_STEPS, STATE_SECONDS = 250, 600.0
"""A state is saved after so many steps or seconds, whichever comes first, at the end, and when stopped."""


_STATE = "the state of the run"


class StateKeeper:
    """Saves the state of a loop while it runs; ``step`` is the last step that is on disk."""

    def __init__(
        self, files: StateFiles, loop: Loop, step: int, troubles: Troubles | None = None
    ) -> None:
        self._files, self._loop = files, loop
        self._troubles = troubles or Troubles(files.folder)
        self._step, self._at = step, time.monotonic()
        self._tried = step

    def on_step(self, event: StepEvent) -> None:
        """Save when it is time."""
        waited = time.monotonic() - self._at
        done = event.step - self._tried
        if done >= STATE_STEPS or waited >= STATE_SECONDS or event.step == event.steps:
            self.save()

    def save(self) -> None:
        """Keep what the run has reached, now. What cannot be written is told, and tried again later."""
        try:
            state = self._loop.state()
            if state is not None and state.step > self._step:
                self._tried = state.step
                self._files.save(state)
                self._step = state.step
                self._troubles.settle(_STATE)
        except (OSError, RuntimeError) as error:
            self._troubles.tell(_STATE, error, "saved")
        self._at = time.monotonic()
