"""The checkpoints of a training inside ComfyUI: where they lie, what they say of themselves."""

from __future__ import annotations

import time
from pathlib import Path

from ...trainer.checkpoints import FOLDER, Checkpoints
from ...trainer.data import TrainingData
from ...trainer.loop import Loop
from .facts import epochs, metadata
from .request import Request


def follow(
    request: Request, run: Path, loop: Loop, data: TrainingData, first: int
) -> list[Checkpoints]:
    """Who writes the checkpoints that are asked for, in the folder of the run, nobody if none are.

    ``first``: the step that the run goes on from, whose checkpoint is made up for if it is missing.
    """
    config, steps, started = request.checkpoints, request.config.steps, time.time()
    if not config.wanted:
        return []
    writer = Checkpoints(
        run / FOLDER,
        config,
        loop,
        epochs(request, steps),
        lambda step: metadata(request, step, started),
    )
    if first:
        last = next(data.steps(request.config, first - 1))
        writer.write(first, last.epoch + 1 if last.ends_epoch else 0, steps)
    return [writer]
