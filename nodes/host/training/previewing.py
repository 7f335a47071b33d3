"""When a training samples previews, and that they are shown and kept."""

from __future__ import annotations

import logging

from torch import Tensor

from ....trainer.runs.troubles import Troubles
from ....trainer.training.loop import StepEvent
from ..model import memory
from ..previews.preview_book import PreviewBook
from ..previews.previewer import Previewer
from .live_training import Follower, Join, LiveTraining
from .trainings import Training


def previewing(
    previewer: Previewer | None, book: PreviewBook, training: Training, troubles: Troubles
) -> Join:
    """Who samples, if anybody wants previews; those of steps that come again are taken away."""

    def join(live: LiveTraining) -> Follower:
        book.clear(live.step)
        previews = Previews(live, previewer, book, training, troubles)
        previews.begin()
        return previews

    return join


log = logging.getLogger(__name__)


class Previews:
    """Samples with the live adapters whenever it is time."""

    def __init__(
        self,
        live: LiveTraining,
        previewer: Previewer | None,
        book: PreviewBook,
        training: Training,
        troubles: Troubles,
    ) -> None:
        self._live, self._previewer = live, previewer
        self._book, self._training, self._troubles = book, training, troubles

    def begin(self) -> None:
        """Before the first step: the previews of the start, or those that were cancelled."""
        step = self._live.step
        if not self._book.has(step):
            self._sample(step, self._live.epoch)

    def on_step(self, event: StepEvent) -> None:
        """Told after every step; may raise an interrupt."""
        self._sample(event.step, event.epoch if event.ends_epoch else 0)

    def _sample(self, step: int, epoch: int) -> None:
        """The previews of a step, where they are due or a page has asked for them."""
        live, previewer = self._live, self._previewer
        if previewer is None:
            return
        was_asked = self._training.takes("preview")
        if not (was_asked or previewer.settings.is_due(step, epoch)):
            return
        with live.aside():
            pictures = self._pictures(previewer)
        if pictures is None:
            log.warning(
                "LoRA Loop: no previews after step %d: memory ran out. Training goes on", step
            )
            return
        try:
            self._book.add(step, pictures, previewer.strengths, previewer.made_by)
        except OSError as error:
            self._troubles.tell("a preview", error)
        self._training.mark("preview", step)

    def _pictures(self, previewer: Previewer) -> list[Tensor] | None:
        """What is sampled with the adapters as they are used; None where memory runs out."""
        live = self._live
        try:
            with live.loop.averaged():
                return previewer.sample(live.network.at_strength)
        except RuntimeError as error:
            if not memory.is_out_of_memory(error):
                raise
        return None
