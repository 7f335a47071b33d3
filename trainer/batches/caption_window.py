"""Encodings of captions that change from one use to the next, a stretch of steps at a time.

So the text encoders are in memory for seconds, then out, while shuffling and dropout go on. These
encodings are a megabyte each and shown once, hence kept in memory and not on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from ..cache.texts import Encode, finite
from ..config.train import TrainConfig
from .training_data import TrainingData

TEXTS = 512
"""Texts encoded at a time; 77 tokens of SDXL are 0.6 MB."""

AHEAD = 1
"""So many steps beyond the one that is computed the loop prepares (see trainer/training/prefetch.py)."""


class CaptionWindow:
    """Keeps ``data.window`` filled for the steps from ``start`` to before ``end`` (counted from 0)."""

    def __init__(
        self, data: TrainingData, config: TrainConfig, start: int = 0, texts: int = TEXTS
    ) -> None:
        self._data, self._texts = data, texts
        plan = islice(data.steps(config, start), max(0, config.steps - start))
        self._plan = enumerate(plan, start)
        self._last: dict[str, None] = {}
        self.end = start if data.varies(config.captions) else config.steps
        self._steps = config.steps

    def is_due(self, step: int) -> bool:
        """Whether ``fill`` must be called before this step is computed and the next one prepared."""
        return self.end < min(step + 1 + AHEAD, self._steps)

    def fill(self, encode: Encode, on_text: Callable[[int, int], None] | None = None) -> None:
        """Encode the texts of the next steps, until there are enough of them.

        Those of the step before stay, since it may not be computed yet; earlier ones go.

        Raises:
            ValueError: an encoding is not finite; names the caption.
        """
        kept, first = self._last, self.end
        wanted: dict[str, None] = {}
        for step, (_, batches, _) in self._plan:
            self.end = step + 1
            items = [item for batch in batches for item in batch]
            shown = [text for item in items for text in (item.text, item.class_text)]
            self._last = {text: None for text in shown if text is not None}
            wanted.update(self._last)
            if len(wanted) >= self._texts and self.end > first + AHEAD:
                break
        known = self._data.window
        self._data.window = {text: known[text] for text in (*kept, *wanted) if text in known}
        missing = [text for text in wanted if text not in known]
        for done, text in enumerate(missing, 1):
            self._data.window[text] = finite(text, encode(text))
            if on_text is not None:
                on_text(done, len(missing))
