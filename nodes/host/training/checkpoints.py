"""The checkpoints of a training inside ComfyUI: where they lie, what they say of themselves."""

from __future__ import annotations

from ....trainer.batches.plan import epoch_of
from ....trainer.config.checkpoints import CheckpointConfig
from ....trainer.runs.checkpoints import FOLDER, Checkpoints
from ....trainer.runs.troubles import Troubles
from .live_training import Join, LiveTraining
from .metadata import Metadata


def checkpointing(config: CheckpointConfig, metadata: Metadata, troubles: Troubles) -> list[Join]:
    """Who writes the checkpoints that are asked for, in the folder of the run, nobody if none are.

    The one of the step that the run goes on from is written again if it is missing.
    """
    if not config.wanted:
        return []
    folder, steps = metadata.run / FOLDER, metadata.config.steps
    epochs = epoch_of(metadata.cached, metadata.config, steps)[0]

    def join(live: LiveTraining) -> Checkpoints:
        writer = Checkpoints(folder, config, live.loop, epochs, metadata.after, troubles)
        if live.step:
            writer.write(live.step, live.epoch, steps)
        return writer

    return [join]
