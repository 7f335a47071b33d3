"""How much memory a run needs, and what to give up when there is less: plain arithmetic.

`bench/plan.py` compares what is planned with the bytes that two steps of our loop really hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..config.lora import LoraConfig
from ..config.train import TrainConfig
from ..layers.recompute import Again, Block, Levels, describe, ladder
from .activations import MIB, Shape, activation_bytes

GIB = 1024**3

WORKSPACES = GIB // 5
"""Room for what kernels need for themselves, which cannot be counted without a card."""
LARGEST_CHANGE = 1280 * 2560 * 3 * 3 * 4
"""Bytes of the change of SDXL's largest adapted weight in float32, a convolution's."""
CHANGES_AT_ONCE = {"lora": 0, "loha": 5, "lokr": 0, "oft": 0, "boft": 0, "full": 2}
"""How many tensors of that size a kind of adapter has at most, forward or backward (profiled)."""
CHANGES_OF_DORA = 2
CHANGES_OF_A_STEP = 3
"""More where a weight is stepped within backward: what an optimiser computes with."""
NOTICEABLE = 128 * MIB
"""What a plan must ask for less where another ran out of memory; gaps between its blocks lose as much."""
TEXT_PER_CHUNK = 0.3 * GIB
"""What SDXL's text encoders keep for backward of 77 tokens, float32: 0.26 counted, and some room."""


@dataclass(frozen=True)
class Need:
    """What a run asks for, whatever the plan."""

    learned: int
    """Bytes of adapters, gradients, optimiser and moving average (see trainer/memory/optimiser_bytes.py)."""
    pixels: int
    """Of the largest bucket."""
    itemsize: int
    """Bytes of the compute dtype."""
    blocks: Sequence[Block]
    rank: int
    """The largest of linear layers."""
    conv_rank: int = 0
    """The largest of convolutions; 0 where none is adapted."""
    chunks: int = 1
    """Of 77 tokens in a caption."""
    trains_text: bool = False
    """Whether text encoders are trained."""
    fused_attention: bool = True
    """Whether attention has a kernel of its own on the device (see trainer/device/attending.py)."""
    update: int = 0
    """Bytes that come on top of `learned` while the optimiser steps (see trainer/memory/optimiser_bytes.py)."""


@dataclass(frozen=True)
class MemoryPlan:
    """What the run does with its memory; same mathematics whatever is chosen."""

    compact: bool
    """Whether blocks are compact (see trainer/layers/compact_block.py)."""
    levels: Levels
    """What each block computes again."""
    micro_batch: int
    reserve: int
    """Bytes that must be free beside the model's weights."""
    fits: bool

    def describe(self) -> str:
        """For the log."""
        compact = "compact layers; " if self.compact else ""
        return (
            f"memory plan: {compact}{describe(self.levels)}; {self.micro_batch} sample(s) at a time; "
            f"{self.reserve / GIB:.1f} GiB beside the weights"
        )


def plan_memory(config: TrainConfig, need: Need, available: int | None) -> MemoryPlan:
    """The fastest plan that fits into `available` bytes beside the weights (None: no limit known); the
    smallest where none does."""
    smallest = None
    for plan in plans(config, need, available):
        if plan.fits:
            return plan
        if smallest is None or plan.reserve < smallest.reserve:
            smallest = plan
    assert smallest is not None
    return smallest


def plans(config: TrainConfig, need: Need, available: int | None) -> Iterator[MemoryPlan]:
    """All plans for a run, from the fastest to the smallest.

    Compact layers cost hardly any computing, a smaller batch costs launches, computing again costs
    products: so they come in this order.
    """
    for compact, levels, micro_batch in _choices(config, need.blocks):
        reserve = reserve_bytes(config, need, levels, micro_batch, compact=compact)
        fits = available is None or reserve <= available
        yield MemoryPlan(compact, levels, micro_batch, reserve, fits)


def smaller_plan(config: TrainConfig, need: Need, plan: MemoryPlan) -> MemoryPlan | None:
    """The fastest plan that asks for noticeably less than this one, or else the smallest; None where it
    is that."""
    smaller = [one for one in plans(config, need, None) if one.reserve < plan.reserve]
    enough = (one for one in smaller if one.reserve <= plan.reserve - NOTICEABLE)
    return next(enough, min(smaller, key=lambda one: one.reserve, default=None))


def _choices(
    config: TrainConfig, blocks: Sequence[Block]
) -> Iterator[tuple[bool, dict[Block, Again], int]]:
    """Kind of layers, levels, samples at a time, from the fastest to the smallest."""
    *faster, compact = config.kinds_of_layers
    first, *others = ladder(blocks, compact=compact)
    for kind in faster:
        yield kind, first, config.batch_size
    if config.checkpointing == "full":
        first = others[-1] if others else first
    micro_batch = config.batch_size
    if config.lora.fused_backward:  # a batch has one backward
        yield compact, first, micro_batch
        if config.checkpointing == "auto":
            yield from ((compact, levels, micro_batch) for levels in others)
        return
    while micro_batch > 1:
        yield compact, first, micro_batch
        micro_batch = (micro_batch + 1) // 2
    yield compact, first, 1
    if config.checkpointing == "auto":
        yield from ((compact, levels, 1) for levels in others)


def reserve_bytes(
    config: TrainConfig, need: Need, levels: Levels, micro_batch: int, *, compact: bool
) -> int:
    """Bytes needed beside the frozen weights: at the peak of a micro batch, or of the optimiser's step.

    Recorded micro batches share a pool as large as the largest of them; one that is not replayed, or
    is about to be recorded, computes beside that pool. So activations count twice.
    """
    shape = Shape(micro_batch, need.pixels, need.itemsize, need.rank, need.conv_rank, need.chunks)
    activations = activation_bytes(levels, shape, compact=compact, fused=need.fused_attention)
    if need.trains_text:
        activations += TEXT_PER_CHUNK * need.chunks * micro_batch
    if config.speed.cuda_graphs:
        activations *= 2
    activations += rebuilding_bytes(config.lora) + WORKSPACES
    return int(need.learned + max(activations, need.update))


def rebuilding_bytes(lora: LoraConfig) -> int:
    """Bytes for the changes of weights that LoHa and DoRA put together, one layer at a time."""
    changes = max(CHANGES_AT_ONCE[lora.algorithm], CHANGES_OF_DORA if lora.dora else 0)
    changes += CHANGES_OF_A_STEP if lora.fused_backward else 0
    return changes * LARGEST_CHANGE
