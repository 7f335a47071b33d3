"""The captions of the coming steps, encoded with ComfyUI's CLIP where they differ from step to step."""

from __future__ import annotations

from typing import Any

from ....trainer.batches.caption_window import CaptionWindow
from ....trainer.batches.training_data import TrainingData
from ....trainer.config.train import TrainConfig
from ..model import clip as text
from ..progress import NodeProgress, check_interrupt


class CaptionFeed:
    """Keeps the data supplied with encodings, from ``step`` on."""

    def __init__(
        self, data: TrainingData, config: TrainConfig, clip: Any, progress: NodeProgress, step: int
    ) -> None:
        self._clip, self._recipe, self._progress = clip, data.dataset.texts, progress
        self._window = CaptionWindow(data, config, start=step)

    def is_due(self, step: int) -> bool:
        """Whether `encode` must be called before the step after this one."""
        return self._window.is_due(step)

    def encode(self) -> None:
        """Encode the texts of the coming steps, in inference mode."""

        def on_text(done: int, total: int) -> None:
            check_interrupt()
            self._progress.say(f"captions {done}/{total}")

        clip, recipe = self._clip, self._recipe
        self._window.fill(lambda caption: text.encode_caption(clip, caption, recipe), on_text)
