"""Bytes that a micro batch keeps between forward and backward, and those that come on top: plain arithmetic.

The numbers were counted on SDXL's UNet by `bench/activations.py`, which prints them again: for 1024 x 1024
pixels in 16 bits, frozen layers saving nothing, attention by a fused kernel. What comes on top is rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..layers.recompute import Again, Levels, Size

MIB = 1024**2
Kind = tuple[Size, Again]


class Kept(NamedTuple):
    """MiB: of each sample; of each sample and rank; of each rank once, which are factors in 16 bits."""

    sample: float
    sample_rank: float = 0.0
    rank: float = 0.0

    def at(self, scale: float, rank: int) -> float:
        """MiB of a batch. scale: its samples of 1024 x 1024 pixels in 16 bits."""
        return scale * (self.sample + self.sample_rank * rank) + self.rank * rank


OUTSIDE = {False: Kept(265.254, 0.10156, 0.08179), True: Kept(255.254, 0.12186, 0.83496)}
"""By layers, compact or not: what is kept outside of blocks, and the inputs of resnets.

Compact: with the scratches of factors, and what all blocks together keep of the context, 0.00029 each.
"""
CONVOLUTIONS = {False: Kept(72.500, 0.04883, 0.05493), True: Kept(72.500, 0.04883)}
"""What adapted convolutions outside of blocks add; the rank is theirs."""
INPUT: Mapping[Size, float] = {"large": 5.0, "small": 2.5, "resnet": 0.0}
"""MiB of each sample that a block keeps which is computed again: its input."""
MORE: Mapping[bool, Mapping[Kind, Kept]] = {
    False: {
        ("resnet", Again.NOTHING): Kept(15.588),
        ("large", Again.NOTHING): Kept(135.594, 0.06279, 0.03418),
        ("large", Again.ALL_BUT_ATTENTION): Kept(10.313),
        ("small", Again.NOTHING): Kept(68.056, 0.01592, 0.06836),
        ("small", Again.ALL_BUT_ATTENTION): Kept(5.156),
    },
    True: {
        ("resnet", Again.NOTHING): Kept(3.971),
        ("large", Again.NOTHING): Kept(80.594, 0.06250),
        ("large", Again.FEED_FORWARD): Kept(40.594, 0.05469),
        ("large", Again.PROJECTIONS): Kept(20.344, 0.02344),
        ("large", Again.ALL_BUT_ATTENTION): Kept(10.313),
        ("small", Again.NOTHING): Kept(40.556, 0.01562),
        ("small", Again.FEED_FORWARD): Kept(20.556, 0.01367),
        ("small", Again.PROJECTIONS): Kept(10.164, 0.00586),
        ("small", Again.ALL_BUT_ATTENTION): Kept(5.156),
    },
}
"""What one block adds where less of it is computed again; of resnets, the mean."""
RESNET_CONVOLUTIONS = {False: Kept(17.753, 0.02459, 0.03669), True: Kept(1.723, 0.02459)}
"""What adapted convolutions add to a resnet that is not computed again; the rank is theirs."""
TEXT = 0.3
"""MiB of each sample that a transformer block keeps for 77 tokens more than the first."""


class OnTop(NamedTuple):
    """MiB of each sample while backward is at a block: at any, at a resnet that is computed again."""

    any: float
    resnet_again: float


ON_TOP = {False: OnTop(20.0, 104.0), True: OnTop(80.0, 101.0)}
"""By layers, compact or not."""
ON_TOP_CONVOLUTIONS = {False: OnTop(30.0, 40.0), True: OnTop(47.0, 63.0)}
"""What adapted convolutions add to that."""
SCORES = {False: (2, -290.0), True: (2, -125.0)}
"""Without a fused kernel: tensors of attention's scores while backward is at a block that has kept its own,
and MiB of each sample, of what is freed by then."""
SCORES_AGAIN = {False: (3, -65.0), True: (3, -60.0)}
"""The same at a block that computes its attention again."""


class Shape(NamedTuple):
    """What a micro batch is. pixels: of one of its samples; ranks: the largest, 0 for none."""

    samples: int
    pixels: int
    itemsize: int
    rank: int
    conv_rank: int = 0
    chunks: int = 1
    """Of 77 tokens."""

    @property
    def scale(self) -> float:
        """Its samples of 1024 x 1024 pixels in 16 bits."""
        return self.samples * (self.pixels / 1024**2) * (self.itemsize / 2)

    def scores(self, size: Size) -> float:
        """MiB of one tensor of the scores of self-attention, [samples, heads, tokens, tokens]."""
        heads, tokens = (10, self.pixels / 256) if size == "large" else (20, self.pixels / 1024)
        return self.samples * heads * tokens * tokens * self.itemsize / MIB

    def text_scores(self, size: Size) -> float:
        """MiB of one tensor of the scores of attention to the text."""
        heads, tokens = (10, self.pixels / 256) if size == "large" else (20, self.pixels / 1024)
        return self.samples * heads * tokens * 77 * self.chunks * self.itemsize / MIB


def activation_bytes(levels: Levels, shape: Shape, *, compact: bool, fused: bool) -> float:
    """The most bytes at once, gradients of adapters left out. fused: attention keeps no scores.

    Backward goes from the last block to the first. At each there are what it and all before it have
    kept, and what comes on top there.
    """
    at = _Blocks(shape, compact, fused)
    kept, peak = at.outside(), 0.0
    for block, level in levels.items():
        own, on_top = at.block(block.size, level)
        kept += own
        peak = max(peak, kept + on_top)
    return max(kept, peak) * MIB


class _Blocks:
    """MiB of blocks in one micro batch."""

    def __init__(self, shape: Shape, compact: bool, fused: bool) -> None:
        self._shape, self._compact, self._fused = shape, compact, fused
        self._found: dict[Kind, tuple[float, float]] = {}

    def outside(self) -> float:
        """What is kept outside of all blocks."""
        shape = self._shape
        kept = OUTSIDE[self._compact].at(shape.scale, shape.rank)
        if shape.conv_rank:
            kept += CONVOLUTIONS[self._compact].at(shape.scale, shape.conv_rank)
        return kept

    def block(self, size: Size, level: Again) -> tuple[float, float]:
        """What a block keeps, and what comes on top while backward is there."""
        kind = size, level
        if kind not in self._found:
            self._found[kind] = self._kept(size, level), self._on_top(size, level)
        return self._found[kind]

    def _kept(self, size: Size, level: Again) -> float:
        shape = self._shape
        kept = INPUT[size] * shape.scale + self._more(size, level)
        if size == "resnet" or level >= Again.ALL_BUT_ATTENTION:
            return kept
        kept += TEXT * (shape.chunks - 1) * shape.samples * shape.itemsize / 2
        if not self._fused and level < Again.PROJECTIONS:
            kept += shape.scores(size) + shape.text_scores(size)
            if self._compact:  # queries and keys, in one piece with the values, beside scaled ones
                kept += 2 * INPUT[size] * shape.scale
        return kept

    def _more(self, size: Size, level: Again) -> float:
        """What a block keeps beside its input."""
        shape, compact = self._shape, self._compact
        if level is Again.ALL or (level is Again.ALL_BUT_ATTENTION and not self._fused):
            return 0.0  # only what fused kernels give can be kept while all else is computed again
        kept = MORE[compact][size, level].at(shape.scale, shape.rank)
        if size == "resnet" and shape.conv_rank:
            kept += RESNET_CONVOLUTIONS[compact].at(shape.scale, shape.conv_rank)
        return kept

    def _on_top(self, size: Size, level: Again) -> float:
        shape, compact = self._shape, self._compact
        again = size == "resnet" and level is Again.ALL
        found = ON_TOP[compact][again] * shape.scale
        if shape.conv_rank:
            found += ON_TOP_CONVOLUTIONS[compact][again] * shape.scale
        if size != "resnet" and level >= Again.ALL_BUT_ATTENTION:
            found = max(found, self._more(size, Again.NOTHING) - self._more(size, level))
        if size != "resnet" and not self._fused:
            tensors, freed = (SCORES if level < Again.PROJECTIONS else SCORES_AGAIN)[compact]
            found = max(found, tensors * shape.scores(size) + freed * shape.scale)
        return found
