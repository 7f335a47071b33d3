"""The checkpoints of a training inside ComfyUI: where they lie, what they say of themselves."""

from __future__ import annotations

import time
from itertools import takewhile
from pathlib import Path

from ...trainer.batches import epoch_ends
from ...trainer.checkpoints import FOLDER, Checkpoints
from ...trainer.loop import Loop
from .facts import epochs, metadata
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
        epochs(request, steps),
        lambda step: metadata(request, step, started, run),
    )
    if first:
        ends = takewhile(lambda end: end <= first, epoch_ends(request.cached, request.config))
        ended = {end: epoch for epoch, end in enumerate(ends, 1)}
        writer.write(first, ended.get(first, 0), steps)
    return [writer]
