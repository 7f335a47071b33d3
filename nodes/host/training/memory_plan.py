"""How a training fits into the memory that there is."""

from __future__ import annotations

import logging
import math

from torch import nn

from ....trainer.cache.latents import CachedDataset
from ....trainer.config.lora import LARGEST_RANK
from ....trainer.config.train import TrainConfig
from ....trainer.device.attending import is_fused
from ....trainer.layers.recompute import find_blocks
from ....trainer.memory.advice import advice
from ....trainer.memory.optimiser_bytes import learned_bytes, update_bytes
from ....trainer.memory.plan import GIB, MemoryPlan, Need, plan_memory
from ....trainer.network.network import Network
from ....trainer.network.unet_targets import Target
from ..model import clip_training, frozen_weights, memory
from ..model.trained_model import TrainedModel

log = logging.getLogger(__name__)

UNSAID = int(0.3 * GIB)


def memory_plan(
    model: TrainedModel, config: TrainConfig, network: Network, need: Need, available: int | None
) -> MemoryPlan:
    """The plan for training these adapters; says so where parts of the model must be streamed.

    available: bytes beside the weights, None where nothing is managed.
    """
    parameters = network.parameters()
    plan = plan_memory(config, need, available)
    if not need.fused_attention:
        log.warning(
            "LoRA Loop: PyTorch has no flash or memory-efficient attention for this device and precision. "
            "Attention will need much more memory, which the plan takes into account."
        )
    if available is not None and plan.reserve - available > _unsaid(model):
        weights = 0 if memory.stays(model.patcher) else model.patcher.model_size()
        told = advice(
            config,
            need,
            available,
            weights,
            lambda o: learned_bytes(
                o, parameters, model.device, at_once=config.lora.fused_backward
            ),
        )
        log.warning(
            "LoRA Loop: this training %s Parts of the model will wait in RAM, which takes longer.",
            told,
        )
    return plan


def _unsaid(model: TrainedModel) -> int:
    """Bytes that may be missing without a word: dynamic VRAM brings so few of the weights without delay."""
    return UNSAID if memory.is_dynamic(model.patcher) else 0


def find_available(model: TrainedModel, config: TrainConfig) -> int | None:
    """Bytes beside the weights, before room is made; None where nothing is managed."""
    spared = frozen_weights.spared_bytes(model.patcher, config.speed)
    return memory.available_beside(model.patchers, spared)


def find_need(
    model: TrainedModel, cached: CachedDataset, config: TrainConfig, network: Network
) -> Need:
    """What the training asks for, whatever the plan."""
    convolutions = [inner_rank(t) for t in network.targets if isinstance(t.module, nn.Conv2d)]
    others = [inner_rank(t) for t in network.targets if not isinstance(t.module, nn.Conv2d)]
    parameters, on_cuda = network.parameters(), model.device.type == "cuda"
    at_once = config.lora.fused_backward
    return Need(
        learned=learned_bytes(config.optimiser, parameters, model.device, at_once=at_once),
        update=update_bytes(config.optimiser, parameters, on_cuda=on_cuda, at_once=at_once),
        pixels=max(math.prod(item.bucket) for item in cached.items),
        itemsize=model.dtype.itemsize,
        blocks=find_blocks(model.unet),
        rank=max(others, default=0),
        conv_rank=max(convolutions, default=0),
        chunks=clip_training.chunks_of_longest(model.clip, cached),
        trains_text=model.trains_text,
        fused_attention=is_fused(model.device, model.dtype),
    )


def inner_rank(target: Target) -> int:
    """The rank of what lies between an adapter's factors: none where LoKr's second matrix is whole."""
    return 0 if target.whole or target.rank > LARGEST_RANK else target.rank
