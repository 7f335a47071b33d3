"""SDXL's UNet in its full width on the meta device, trained there: bytes are counted, nothing is computed."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Literal
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...nodes.host.model.unet import predict
from ...trainer.batches.plan import BatchItem
from ...trainer.batches.training_data import Batch, PlannedStep
from ...trainer.config.lora import LoraConfig
from ...trainer.config.optimisers import FUSED
from ...trainer.config.train import TrainConfig
from ...trainer.frozen.streaming import SLOTS, stream_units
from ...trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from ...trainer.layers.compact_plan import compact_plan
from ...trainer.layers.recompute import Again, Levels, find_blocks
from ...trainer.memory.optimiser_bytes import learned_bytes, update_bytes
from ...trainer.memory.plan import MemoryPlan, Need
from ...trainer.network.network import Network
from ...trainer.network.unet_targets import find_targets
from ...trainer.optim import rounding
from ...trainer.sdxl.constants import CONTEXT_WIDTH, LATENT_CHANNELS, LATENT_PIXELS, Y_WIDTH
from ...trainer.sdxl.schedule import Schedule
from ...trainer.sdxl.token_chunks import CHUNK
from ...trainer.training import loop, tally
from ...trainer.training.step import Model
from ..data import reduced_sdxl
from .alive import Following, Held, held
from .counter import Counts, count

META = torch.device("meta")
Attention = Literal["flash", "efficient", "math"]
CHECK = "torch.optim.adam._device_dtype_check_for_fused"
"""What would refuse AdamW's fused step on the meta device."""
_aten = torch.ops.aten


class FullSize:
    """The UNet and what trains it. depth: transformer blocks where SDXL has ten, at most; None: as it is."""

    def __init__(self, depth: int | None = None, dtype: torch.dtype = torch.float16) -> None:
        self._unet, self.dtype = reduced_sdxl.full_size(depth, dtype), dtype
        self.weights = sum(p.nbytes for p in self._unet.parameters())
        """Bytes of the frozen weights."""
        self.ring = SLOTS * max(map(_bytes_of, stream_units(self._unet)))
        """Bytes of them on the card where they are streamed."""
        self.blocks = find_blocks(self._unet)
        self.sizes = Counter(block.size for block in self.blocks)
        """How many blocks there are of each size."""
        self._network = functools.cache(self._new_network)

    def need(self, config: TrainConfig, side: int, *, fused: bool = True) -> Need:
        """What the memory plan is made from, as Train makes it. side: pixels."""
        lora, parameters = config.lora, self._network(config.lora).parameters()
        return Need(
            learned=learned_bytes(config.optimiser, parameters, at_once=lora.fused_backward),
            update=update_bytes(
                config.optimiser, parameters, on_cuda=True, at_once=lora.fused_backward
            ),
            fused_attention=fused,
            pixels=side * side,
            itemsize=self.dtype.itemsize,
            blocks=self.blocks,
            rank=0 if lora.algorithm == "full" else lora.rank,
            conv_rank=lora.conv_rank,
        )

    def micro_batch(
        self,
        levels: Levels,
        config: TrainConfig,
        side: int,
        attention: Attention = "flash",
        *,
        compact: bool,
        batch: int = 1,
        chunks: int = 1,
        backward: bool = False,
    ) -> Held:
        """Bytes of forward and, where it is asked for, backward of so many samples. side: pixels."""
        network, loss = self._network(config.lora), self._loss(side, batch, chunks)
        with self._attached(network, levels, compact), attended_by(attention):
            return held(loss, network.parameters() if backward else None)

    def counts(self, config: TrainConfig, side: int, *, compact: bool) -> Counts:
        """Of a batch in one piece, forward and backward, nothing computed again."""
        network, loss = self._network(config.lora), self._loss(side, config.batch_size)
        levels = dict.fromkeys(self.blocks, Again.NOTHING)
        with self._attached(network, levels, compact), attended_by("flash"):
            return count(loss, self._unet.parameters())

    def trained(self, config: TrainConfig) -> tuple[int, int]:
        """How many numbers are trained, and the bytes of them, of gradients and of the optimiser's states."""
        parameters = self._network(config.lora).parameters()
        return sum(p.numel() for p in parameters), learned_bytes(config.optimiser, parameters)

    def steps(
        self, plan: MemoryPlan, config: TrainConfig, side: int, attention: Attention = "flash"
    ) -> int:
        """The most bytes that are alive in two optimiser steps of our loop by a plan, weights left out."""
        with ExitStack() as stack:
            following = stack.enter_context(Following(META))
            stack.enter_context(attended_by(attention))
            stack.enter_context(mock.patch.object(tally, "read", _read))
            stack.enter_context(mock.patch(CHECK, lambda *_, **__: None))
            stack.enter_context(mock.patch.object(rounding, "random_bits", _bits))
            network = self._new_network(config.lora)
            following.peak = following.now  # it is made in RAM, and comes to a card as one piece
            unet = self._unet
            model = Model(
                lambda *inputs: predict(unet, *inputs), Schedule.sdxl().to(META), META, self.dtype
            )
            with self._attached(network, plan.levels, plan.compact):
                data: Any = _Nowhere(side // LATENT_PIXELS)
                loop.Loop(model, network, data, _fused(config), plan.micro_batch).run(_Nobody())
        return following.peak

    def _loss(self, side: int, batch: int, chunks: int = 1) -> Callable[[], Tensor]:
        """A forward of so many samples, to a loss."""
        inputs = []
        for shape in reduced_sdxl.full_shapes(side // LATENT_PIXELS, chunks):
            inputs.append(torch.empty((batch, *shape[1:]), dtype=self.dtype, device=META))
        return lambda: predict(self._unet, *inputs).float().square().mean()

    def _new_network(self, config: LoraConfig) -> Network:
        weights: Any = reduced_sdxl.MetaWeights()
        return Network(find_targets(self._unet, config), device=META, weights=weights)

    def _attached(self, network: Network, levels: Levels, compact: bool) -> Attachment:
        weights: Any = reduced_sdxl.MetaWeights()
        if compact:
            layers = compact_plan(self._unet, network, weights, levels)
        else:
            layers = leaf_plan(self._unet, network, weights)
        return Attachment([*layers, *checkpoint_plan(self._unet, levels, layers)])


@contextmanager
def attended_by(attention: Attention) -> Iterator[None]:
    """PyTorch's attention is computed by this backend, which the meta device would not choose."""
    ways: Mapping[str, Callable[..., Tensor]] = {
        "flash": lambda q, k, v: _aten._scaled_dot_product_flash_attention(q, k, v)[0],
        "efficient": lambda q, k, v: _aten._scaled_dot_product_efficient_attention(
            q, k, v, None, True
        )[0],
        "math": lambda q, k, v: _aten._scaled_dot_product_attention_math(q, k, v)[0],
    }
    with mock.patch.object(
        F, "scaled_dot_product_attention", lambda q, k, v, *_, **__: ways[attention](q, k, v)
    ):
        yield


def _fused(config: TrainConfig) -> TrainConfig:
    """Two steps, with the optimiser that a card would have."""
    if config.optimiser.type in FUSED:
        config = config.having(optimiser=replace(config.optimiser, arguments=("fused=True",)))
    return replace(config, steps=2)


def _read(tensors: Any) -> list[list[float]]:
    """The one wait of a step: numbers that the meta device does not have."""
    return [[0.1] * tensor.numel() for tensor in tensors]


def _bytes_of(layers: list[nn.Module]) -> int:
    return sum(own.nbytes for layer in layers for own in layer.parameters(recurse=False))


def _bits(like: Tensor, *_: int) -> Tensor:
    """Random bits: the meta device has no generator."""
    return torch.empty(like.shape, dtype=torch.int16, device=like.device)


class _Nowhere:
    """Batches of random numbers."""

    def __init__(self, latent: int) -> None:
        self._latent = latent

    def steps(self, config: TrainConfig, start: int = 0) -> Iterator[PlannedStep]:
        """As trainer.batches.training_data.TrainingData."""
        items = tuple(BatchItem(n, 0, False, "") for n in range(config.batch_size))
        while True:
            yield PlannedStep(0, [items] * config.accumulation, False)

    def load(self, items: tuple[BatchItem, ...]) -> Batch:
        """As trainer.batches.training_data.TrainingData."""
        count, side = len(items), self._latent
        return Batch(
            torch.randn(count, LATENT_CHANNELS, side, side),
            torch.randn(count, CHUNK, CONTEXT_WIDTH),
            torch.randn(count, Y_WIDTH),
            torch.ones(count),
            items,
        )


class _Nobody:
    """Who drives the loop and wants nothing."""

    def before_batch(self) -> None:
        """As trainer.training.loop.Observer."""

    def on_step(self, event: loop.StepEvent) -> None:
        """As trainer.training.loop.Observer."""
