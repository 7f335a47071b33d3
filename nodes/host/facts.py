"""What a finished training says of itself in its file."""

from __future__ import annotations

import time
from itertools import takewhile

from ...trainer.batches import batches_per_epoch, epoch_ends
from ...trainer.metadata import RunFacts, describe
from . import unet
from .request import Request


def epochs(request: Request, steps: int) -> int:
    """How many epochs that many steps take, the last one maybe in part."""
    finished = takewhile(lambda end: end < steps, epoch_ends(request.cached, request.config))
    return 1 + sum(1 for _ in finished)


def metadata(request: Request, steps: int, started: float) -> dict[str, str]:
    """kohya's metadata of ``steps`` of a training that began at ``started`` (unix seconds); it is now."""
    cached, config = request.cached, request.config
    schedule = unet.schedule(request.patcher, config.loss)
    facts = RunFacts(
        steps=steps,
        epochs=epochs(request, steps),
        batches_per_epoch=batches_per_epoch(cached, config.batch_size),
        started=started,
        finished=time.time(),
        prediction=schedule.prediction,
        zero_terminal_snr=schedule.zero_terminal_snr,
        trigger=cached.dataset.trigger,
    )
    return describe(config, cached, facts)
