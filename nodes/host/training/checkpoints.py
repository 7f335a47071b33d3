"""The checkpoints of a training inside ComfyUI: where they lie, what they say of themselves."""

from __future__ import annotations

import time
from pathlib import Path

from ....trainer.batches.plan import ended_epoch, epoch_of
from ....trainer.runs.checkpoints import FOLDER, Checkpoints
from ....trainer.training.loop import Loop
from .metadata import metadata
from .request import Request


def follow(request: Request, run: Path, loop: Loop, first: int) -> list[Checkpoints]:
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
        epoch_of(request.cached, request.config, steps)[0],
        lambda step: metadata(request, step, started, run),
    )
    if first:
        writer.write(first, ended_epoch(request.cached, request.config, first), steps)
    return [writer]
