"""Weights that a peak has pushed off the card come back, where there is room for them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from ....trainer.config.speed import SpeedConfig
from ....trainer.training.loop import StepEvent
from ..model import memory
from ..model.host_types import Patcher
from ..model.trained_model import TrainedModel
from .live_training import Follower, Join, LiveTraining

FIRST, LONGEST = 4, 256
"""Steps with weights away before room is asked for again: at first, and at most."""


def asking_for_room(model: TrainedModel, speed: SpeedConfig) -> Join:
    """Who asks ComfyUI for the room that the weights have lost."""

    def join(live: LiveTraining) -> Follower:
        return RoomAgain(paged_models(model, speed), live.aside)

    return join


def paged_models(model: TrainedModel, speed: SpeedConfig) -> Sequence[Patcher]:
    """The models whose weights ComfyUI may page while training; copies in 8 bits are ours."""
    return model.patchers if speed.frozen_weights == "as loaded" else ()


class RoomAgain:
    """A follower of the steps: has the models loaded again when parts of them have been away for some steps.

    It costs about what one of these steps loses. So the waiting doubles whenever it has not helped for
    as long as it took, where a large bucket comes often or the model never fits.
    """

    def __init__(
        self, patchers: Sequence[Patcher], aside: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._patchers, self._aside = patchers, aside
        self._wait, self._away, self._whole = FIRST, 0, 0

    def on_step(self, event: StepEvent) -> None:
        """Told after every step."""
        if not memory.paged_out(self._patchers).away:
            self._away, self._whole = 0, self._whole + 1
            if self._whole >= self._wait:
                self._wait = FIRST
            return
        self._away += 1
        if self._away >= self._wait:
            self._away, self._whole = 0, 0
            self._wait = min(2 * self._wait, LONGEST)
            with self._aside():
                pass  # room is made on the way out
