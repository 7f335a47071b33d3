"""What a finished training says of itself in its file."""

from __future__ import annotations

import math
import time

from ...trainer.batches import batches_per_epoch
from ...trainer.metadata import RunFacts, describe
from . import unet
from .request import Request


def epochs(request: Request, steps: int) -> int:
    """How many epochs that many steps take, the last one maybe in part."""
    batches = batches_per_epoch(request.cached, request.config.batch_size)
    return math.ceil(steps / math.ceil(batches / request.config.accumulation))


def metadata(request: Request, steps: int, started: float) -> dict[str, str]:
    """kohya's metadata of ``steps`` of a training that began at ``started`` (unix seconds); it is now."""
    cached, config = request.cached, request.config
    schedule = unet.schedule(request.patcher)
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
