"""How a training fits into the memory that there is."""

from __future__ import annotations

import logging
import math

from torch import nn

from ....trainer.layers.recompute import find_blocks
from ....trainer.memory.advice import advice
from ....trainer.memory.optimiser_bytes import learned_bytes
from ....trainer.memory.plan import MemoryPlan, Need, plan_memory
from ....trainer.network.network import Network
from ..model import clip_training, frozen_weights, memory, unet
from .request import Request

log = logging.getLogger(__name__)


def memory_plan(request: Request, network: Network) -> MemoryPlan:
    """The plan for training these adapters; says so where parts of the model must be streamed."""
    config, parameters = request.config, network.parameters()
    need = _need(request, network)
    spared = frozen_weights.spared_bytes(request.patcher, config.speed)
    available = memory.available_beside(request.trained, spared)
    plan = plan_memory(config, need, available)
    if not plan.fits and available is not None:
        weights = request.patcher.model_size()
        told = advice(
            config, need, available, weights, lambda other: learned_bytes(other, parameters)
        )
        log.warning(
            "LoRA Loop: this training %s Parts of the model will wait in RAM, which takes longer.",
            told,
        )
    return plan


def _need(request: Request, network: Network) -> Need:
    """What the training asks for, whatever the plan."""
    convolutions = [t.rank for t in network.targets if isinstance(t.module, nn.Conv2d)]
    others = [t.rank for t in network.targets if not isinstance(t.module, nn.Conv2d)]
    chunks = 0
    if request.trains_text:
        chunks = clip_training.chunks_of_longest(request.clip, request.cached)
    return Need(
        learned=learned_bytes(request.config.optimiser, network.parameters()),
        pixels=max(math.prod(item.bucket) for item in request.cached.items),
        itemsize=unet.compute_dtype(request.patcher).itemsize,
        blocks=find_blocks(request.patcher.model.diffusion_model),
        rank=max(others, default=0),
        conv_rank=max(convolutions, default=0),
        chunks=chunks,
    )
