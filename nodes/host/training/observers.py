"""What goes on beside a training: validation of held-out pictures, and the history of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ....trainer.batches.training_data import TrainingData
from ....trainer.lora_files.file import LoraModel
from ....trainer.runs.history import History
from ....trainer.runs.run_folder import RunFolder
from ....trainer.training.loop import Loop
from ....trainer.training.step import Model
from ....trainer.validation.book import ValidationBook
from ....trainer.validation.measure import Validation
from ....trainer.validation.split import Parts
from ....trainer.validation.validator import Validator
from .metadata import metadata
from .request import Request


class Watching:
    """Whoever watches the steps of one run; ``request`` is of the pictures that are trained on."""

    def __init__(
        self, request: Request, held_out: TrainingData, parts: Parts, folder: RunFolder
    ) -> None:
        self._request, self._folder = request, folder
        self._held_out = Validation(held_out, parts.held_out.items, request.config)
        self.book = ValidationBook(folder, parts.training, request.config)

    @contextmanager
    def follow(
        self, loop: Loop, model: Model, before_batch: Callable[[], None]
    ) -> Iterator[tuple[Validator, History]]:
        """The followers of a loop that is about to run, adapters attached, in the order to tell them."""
        started = time.time()
        validator = Validator(
            self.book,
            self._request.config.validation,
            loop,
            lambda: self._held_out.losses(model, before_batch),
            lambda step: LoraModel(
                loop.tensors(), metadata(self._request, step, started, self._folder.path)
            ),
        )
        validator.begin()
        history = History(self._folder.path, loop.losses, model.device, self.book.measurement)
        try:
            yield validator, history
        finally:
            history.close()
