"""Who follows the steps of a training inside ComfyUI: validation, history, states, the line on the node."""

from __future__ import annotations

from ....trainer.batches.training_data import TrainingData
from ....trainer.config.train import TrainConfig
from ....trainer.lora_files.file import LoraModel
from ....trainer.runs.history import History
from ....trainer.runs.state_keeper import StateKeeper
from ....trainer.runs.troubles import Troubles
from ....trainer.training.loop import StepEvent
from ....trainer.validation.book import ValidationBook
from ....trainer.validation.measure import Validation
from ....trainer.validation.validator import Validator
from ..progress import NodeProgress, check_interrupt, step_text
from .live_training import Follower, Join, LiveTraining
from .metadata import Metadata
from .spill_notice import Spilling
from .trainings import Training


def always(follower: Follower) -> Join:
    """For a follower that needs nothing of the training."""
    return lambda live: follower


def validating(
    book: ValidationBook, held_out: TrainingData, config: TrainConfig, metadata: Metadata
) -> Join:
    """Who measures the held-out images."""

    measured = Validation(held_out, held_out.dataset.items, config)

    def join(live: LiveTraining) -> Validator:
        validator = Validator(
            book,
            config.validation,
            live.loop,
            lambda: measured.losses(live.model, check_interrupt),
            lambda step: LoraModel(live.loop.tensors(), metadata.after(step)),
        )
        validator.begin()
        return validator

    return join


def recording(book: ValidationBook, metadata: Metadata) -> Join:
    """Who writes down every step, in the run's folder. To be told after validation."""

    def join(live: LiveTraining) -> History:
        device, losses = live.model.device, live.loop.losses
        history = History(metadata.run, losses, device, book.measurement, book.troubles)
        live.ending.callback(history.close)
        return history

    return join


def saving_states(live: LiveTraining) -> StateKeeper:
    """Who saves the state of the run. To be told after all who write of a step."""
    return live.states


class StepLine:
    """The bar, and the line that the training tells of the step. To be told before the training is."""

    def __init__(
        self, progress: NodeProgress, training: Training, spilling: Spilling, troubles: Troubles
    ) -> None:
        self._progress, self._training = progress, training
        self._spilling, self._troubles = spilling, troubles

    def on_step(self, event: StepEvent) -> None:
        """Told after every step; may raise an interrupt."""
        line = event.warning or step_text(event) + self._spilling.notice
        self._training.state["line"] = line + self._troubles.notice
        self._progress.update(event.step)
