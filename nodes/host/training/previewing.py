"""When a training samples previews, and that they are shown and kept."""

from __future__ import annotations

from PIL import Image

from ....trainer.runs.troubles import Troubles
from ....trainer.training.loop import StepEvent
from ..previews.preview_book import PreviewBook
from ..previews.previewer import Previewer
from ..progress import NodeProgress
from .live_training import Follower, Join, LiveTraining


def previewing(
    previewer: Previewer | None, book: PreviewBook, progress: NodeProgress, troubles: Troubles
) -> Join:
    """Who samples, if anybody wants previews; those of steps that come again are taken away."""

    def join(live: LiveTraining) -> Follower:
        book.clear(live.step)
        previews = Previews(live, previewer, book, progress, troubles)
        previews.begin()
        return previews

    return join


class Previews:
    """Samples with the live adapters whenever it is time."""

    def __init__(
        self,
        live: LiveTraining,
        previewer: Previewer | None,
        book: PreviewBook,
        progress: NodeProgress,
        troubles: Troubles,
    ) -> None:
        self._live, self._previewer = live, previewer
        self._book, self._progress, self._troubles = book, progress, troubles

    def begin(self) -> None:
        """Before the first step: the previews of the start, or those that were cancelled."""
        step = self._live.step
        if not self._book.has(step):
            self._sample(step, self._live.epoch)

    def on_step(self, event: StepEvent) -> None:
        """Told after every step; may raise an interrupt."""
        sheet = self._sample(event.step, event.epoch if event.ends_epoch else 0)
        if sheet is not None:
            self._progress.update(event.step, picture=sheet)

    def _sample(self, step: int, epoch: int) -> Image.Image | None:
        """The previews of a step on one sheet; None where they are not due."""
        live, previewer = self._live, self._previewer
        if previewer is None or not previewer.settings.is_due(step, epoch):
            return None
        with live.aside(), live.loop.averaged():
            pictures = previewer.sample(live.network.at_strength)
        try:
            return self._book.add(step, pictures, previewer.strengths)
        except OSError as error:  # it is shown all the same
            self._troubles.tell("a preview", error)
            return self._book.sheet(pictures, previewer.strengths)
