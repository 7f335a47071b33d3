"""What a finished training says of itself in its file."""

from __future__ import annotations

import time
from itertools import takewhile

from ...trainer.batches import batches_per_epoch, epoch_ends
from ...trainer.loop import Outcome
from ...trainer.metadata import RunFacts, describe
from . import unet
from .request import Request


def metadata(request: Request, outcome: Outcome, started: float) -> dict[str, str]:
    """kohya's metadata of a training that began at ``started`` (unix seconds) and ends now."""
    cached, config = request.cached, request.config
    finished = takewhile(lambda end: end < outcome.steps, epoch_ends(cached, config))
    schedule = unet.schedule(request.patcher, config.loss)
    facts = RunFacts(
        steps=outcome.steps,
        epochs=1 + sum(1 for _ in finished),
        batches_per_epoch=batches_per_epoch(cached, config.batch_size),
        started=started,
        finished=time.time(),
        prediction=schedule.prediction,
        zero_terminal_snr=schedule.zero_terminal_snr,
        trigger=cached.dataset.trigger,
    )
    return describe(config, cached, facts)
