"""How a training fits into the memory that there is."""

from __future__ import annotations

import logging
import math

from ...trainer.memory import MemoryPlan, plan_memory
from . import frozen_weights, memory, text_training, unet
from .request import Request

log = logging.getLogger(__name__)


def memory_plan(request: Request, parameters: int) -> MemoryPlan:
    """The plan for adapters of so many parameters; says so where parts of the model must be streamed."""
    chunks = 0
    if request.trains_text:
        chunks = text_training.chunks_of_longest(request.clip, request.cached)
    plan = plan_memory(
        request.config,
        parameters=parameters,
        pixels=max(math.prod(item.bucket) for item in request.cached.items),
        itemsize=unet.compute_dtype(request.patcher).itemsize,
        available=memory.available_beside(
            request.trained, frozen_weights.spared_bytes(request.patcher, request.config.speed)
        ),
        chunks=chunks,
    )
    if not plan.fits:
        log.warning(
            "LoRA Loop: %s is more than this card has beside the model; parts of the model will be "
            "streamed from RAM. Lower the resolution, the rank or the batch size, or set "
            "checkpointing to full, to go faster.",
            plan.describe(),
        )
    return plan
