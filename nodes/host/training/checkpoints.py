"""The checkpoints of a training inside ComfyUI: where they lie, what they say of themselves."""

from __future__ import annotations

from ....trainer.config.checkpoints import CheckpointConfig
from ....trainer.runs.checkpoints import FOLDER, Checkpoints
from ....trainer.runs.troubles import Troubles
from ....trainer.training.loop import StepEvent
from .live_training import Join, LiveTraining
from .metadata import Metadata
from .trainings import Training


def checkpointing(
    config: CheckpointConfig, metadata: Metadata, troubles: Troubles, training: Training
) -> Join:
    """Who writes the checkpoints that the settings ask for, and those that a page asks for.

    The one of the step that the run goes on from is written again if it is missing.
    """
    folder, steps = metadata.run / FOLDER, metadata.config.steps

    def join(live: LiveTraining) -> CheckpointsAndOrders:
        def written(step: int) -> None:
            training.mark("checkpoint", step)

        writer = Checkpoints(
            folder, config, live.loop, live.epochs, metadata.after, troubles, written
        )
        if live.step and config.wanted:
            writer.write(live.step, live.epoch, steps)
        return CheckpointsAndOrders(writer, training)

    return join


class CheckpointsAndOrders:
    """Writes what is due, and what a page has asked for."""

    def __init__(self, writer: Checkpoints, training: Training) -> None:
        self._writer, self._training = writer, training

    def on_step(self, event: StepEvent) -> None:
        """Told after every step, before its state is saved."""
        self._writer.on_step(event)
        if self._training.takes("checkpoint"):
            path = self._writer.write_now(event.step)
            self._training.say(f"checkpoint: {path}" if path else "the checkpoint was not written")
