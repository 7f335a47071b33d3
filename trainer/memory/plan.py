"""How much memory a run needs, and what to give up when there is less: plain arithmetic.

What a block keeps was counted on full-size SDXL by `bench/activations.py`, which prints every number of
the tables here again: one sample of 1024 x 1024, 16 bits, frozen layers saving nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..config.lora import LoraConfig
from ..config.train import TrainConfig
from ..layers.recompute import Again, Block, Levels, Size, describe, ladder

MIB = 1024**2
GIB = 1024**3


class Kept(NamedTuple):
    """MiB that stay between forward and backward: at any rank, and for each rank."""

    fixed: float
    each_rank: float

    def at(self, rank: int) -> float:
        """Bytes with adapters of this rank."""
        return (self.fixed + self.each_rank * rank) * MIB


EVERYTHING_AGAIN = {False: Kept(465.274, 0.18335), True: Kept(455.273, 0.18335)}
"""By layers, compact or not: of the whole UNet when all blocks are computed again."""
CONVOLUTIONS = {False: Kept(72.540, 0.10376), True: Kept(72.540, 0.04883)}
"""What adapted convolutions outside of blocks add; the rank is theirs."""
MORE: Mapping[bool, Mapping[tuple[Size, Again], Kept]] = {
    False: {
        ("resnet", Again.NOTHING): Kept(15.592, 0.0),
        ("large", Again.NOTHING): Kept(135.602, 0.09697),
        ("large", Again.ALL_BUT_ATTENTION): Kept(10.313, 0.0),
        ("small", Again.NOTHING): Kept(68.070, 0.08428),
        ("small", Again.ALL_BUT_ATTENTION): Kept(5.156, 0.0),
    },
    True: {
        ("resnet", Again.NOTHING): Kept(3.971, 0.0),
        ("large", Again.NOTHING): Kept(80.594, 0.06279),
        ("large", Again.FEED_FORWARD): Kept(40.594, 0.05498),
        ("large", Again.PROJECTIONS): Kept(20.344, 0.02344),
        ("large", Again.ALL_BUT_ATTENTION): Kept(10.313, 0.0),
        ("small", Again.NOTHING): Kept(40.556, 0.01592),
        ("small", Again.FEED_FORWARD): Kept(20.556, 0.01397),
        ("small", Again.PROJECTIONS): Kept(10.164, 0.00586),
        ("small", Again.ALL_BUT_ATTENTION): Kept(5.156, 0.0),
    },
}
"""What one block adds where less of it is computed again; of resnets, the mean."""
RESNET_CONVOLUTIONS = {False: Kept(17.885, 0.06128), True: Kept(1.773, 0.02459)}
"""What adapted convolutions add to a resnet that is not computed again; the rank is theirs."""
TRANSIENT_PER_SAMPLE = 0.3 * GIB
"""What comes on top while a step computes: 0.11 counted, and room for the workspaces of kernels."""
LARGEST_CHANGE = 1280 * 2560 * 3 * 3 * 4
"""Bytes of the change of SDXL's largest adapted weight in float32, a convolution's."""
CHANGES_AT_ONCE = {"lora": 0, "loha": 5, "lokr": 0}
"""How many tensors of that size a kind of adapter has at most, forward or backward (profiled)."""
CHANGES_OF_DORA = 2
NOTICEABLE = 128 * MIB
"""What a plan must ask for less where another ran out of memory; gaps between its blocks lose as much."""
TEXT_PER_CHUNK = 0.3 * GIB
"""What SDXL's text encoders keep for backward of 77 tokens, float32: 0.26 counted likewise, and some room."""


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
    chunks: int = 0
    """Of 77 tokens in a caption, where text encoders are trained."""


@dataclass(frozen=True)
class MemoryPlan:
    """What the run does with its memory; same mathematics whatever is chosen."""

    compact: bool
    """Whether blocks are compact (see trainer/layers/compact.py)."""
    levels: Levels
    """What each block computes again."""
    micro_batch: int
    reserve: int
    """Bytes that must be free beside the model's weights."""
    fits: bool

    def describe(self) -> str:
        """For the log."""
        return (
            f"memory plan: {describe(self.levels)}; {self.micro_batch} sample(s) at a time; "
            f"{self.reserve / GIB:.1f} GiB beside the weights"
        )


def plan_memory(config: TrainConfig, need: Need, available: int | None) -> MemoryPlan:
    """The fastest plan that fits into `available` bytes beside the weights (None: no limit known); the
    smallest where none does."""
    plan = None
    for plan in plans(config, need, available):
        if plan.fits:
            break
    assert plan is not None
    return plan


def plans(config: TrainConfig, need: Need, available: int | None) -> Iterator[MemoryPlan]:
    """All plans for a run, from the fastest to the smallest.

    A smaller batch costs launches, computing again costs products, so the batch goes first.
    """
    compact = config.is_compact
    for levels, micro_batch in _choices(config, need.blocks):
        reserve = reserve_bytes(config, need, levels, micro_batch, compact=compact)
        fits = available is None or reserve <= available
        yield MemoryPlan(compact, levels, micro_batch, reserve, fits)


def smaller_plan(config: TrainConfig, need: Need, plan: MemoryPlan) -> MemoryPlan | None:
    """The fastest plan that asks for noticeably less than this one, or else the smallest; None where it
    is that."""
    smaller = [one for one in plans(config, need, None) if one.reserve < plan.reserve]
    enough = (one for one in smaller if one.reserve <= plan.reserve - NOTICEABLE)
    return next(enough, smaller[-1] if smaller else None)


def _choices(
    config: TrainConfig, blocks: Sequence[Block]
) -> Iterator[tuple[dict[Block, Again], int]]:
    """Levels and samples at a time, from the fastest to the smallest."""
    first, *others = ladder(blocks, compact=config.is_compact)
    if config.checkpointing == "full":
        first = others[-1] if others else first
    micro_batch = config.batch_size
    while micro_batch > 1:
        yield first, micro_batch
        micro_batch = (micro_batch + 1) // 2
    yield first, 1
    if config.checkpointing == "auto":
        yield from ((levels, 1) for levels in others)


def reserve_bytes(
    config: TrainConfig, need: Need, levels: Levels, micro_batch: int, *, compact: bool
) -> int:
    """Bytes needed beside the frozen weights for adapters, optimiser and activations.

    Recorded micro batches share a pool as large as the largest of them; one that is not replayed, or
    is about to be recorded, computes beside that pool. So activations count twice.
    """
    scale = (need.pixels / 1024**2) * (need.itemsize / 2)
    kept = kept_bytes(need, levels, compact=compact)
    per_sample = (kept + TRANSIENT_PER_SAMPLE) * scale
    per_sample += need.chunks * TEXT_PER_CHUNK
    if config.speed.cuda_graphs:
        per_sample *= 2
    return int(need.learned + rebuilding_bytes(config.lora) + per_sample * micro_batch)


def kept_bytes(need: Need, levels: Levels, *, compact: bool) -> float:
    """What a sample of 1024 x 1024 in 16 bits keeps for backward."""
    counts: Counter[tuple[Size, Again]] = Counter()
    counts.update((block.size, level) for block, level in levels.items())
    total = EVERYTHING_AGAIN[compact].at(need.rank)
    for kind, count in counts.items():
        if kind[1] is not Again.ALL:
            total += count * MORE[compact][kind].at(need.rank)
    if need.conv_rank:
        total += CONVOLUTIONS[compact].at(need.conv_rank)
        resnets = counts["resnet", Again.NOTHING]
        total += resnets * RESNET_CONVOLUTIONS[compact].at(need.conv_rank)
    return total


def rebuilding_bytes(lora: LoraConfig) -> int:
    """Bytes for the changes of weights that LoHa and DoRA put together, one layer at a time."""
    changes = max(CHANGES_AT_ONCE[lora.algorithm], CHANGES_OF_DORA if lora.dora else 0)
    return changes * LARGEST_CHANGE
