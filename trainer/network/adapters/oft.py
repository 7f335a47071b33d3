"""OFT (Qiu et al. 2023) and BOFT (Liu et al. 2024): what a layer puts out is turned, and keeps its length.

Outputs are cut into blocks, and each is multiplied by R = (I + Q)(I - Q)^-1 with Q = B - B^T, where the
blocks B are trained. A bias is not turned: it is the weight that a file changes. Names, shapes and the
side that R is multiplied from are LyCORIS' (diag-oft, boft), which ComfyUI reads.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from ...frozen.weights import Weights
from ..unet_targets import Target
from .base import Adapter, Forward, parameter
from .rebuilt import recomputed

BLOCKS = "oft_blocks"
_EPSILON = 1e-8  # kohya's, which keeps the limit of no turn at all a number


class Turned(Adapter):
    """An adapter that turns the outputs of its layer. oft_blocks [..., blocks, size, size].

    As its alpha a file has how far the layer may turn, 0 for as far as it likes, in the sense of ComfyUI;
    LyCORIS multiplies it by the number of outputs once more.
    """

    def __init__(self, target: Target, shape: tuple[int, ...], device: torch.device) -> None:
        super().__init__(target)
        self.limit = self.alpha = target.constraint * target.shape[0]
        self.blocks = parameter(shape, device)

    def initialise(self, seed: int) -> None:
        """Nothing is drawn: without a turn every number is 0."""

    def factors(self) -> dict[str, nn.Parameter]:
        return {BLOCKS: self.blocks}

    @abstractmethod
    def more(self, y: Tensor, turns: Tensor) -> Tensor:
        """What turning adds to outputs [..., out] without a bias; ``turns``: R - I, like the blocks."""

    def turns(self) -> Tensor:
        """R - I of every block, float32."""
        skew = self.blocks - self.blocks.transpose(-1, -2)
        if self.limit:
            norm = torch.linalg.vector_norm(skew)
            skew = skew * ((norm.clamp(max=self.limit) + _EPSILON) / (norm + _EPSILON))
        one = torch.eye(skew.shape[-1], device=skew.device)
        turned, _ = torch.linalg.solve_ex(one - skew, one + skew)  # I - Q always has an inverse
        return turned - one

    def around(self, frozen: Forward, module: nn.Module, weights: Weights) -> Forward:
        def adapted(x: Tensor) -> Tensor:
            y = frozen(x)
            unbiased = y if module.bias is None else y - _bias(module, weights, y)
            axis = 1 if isinstance(module, nn.Conv2d) else -1
            more = self.more(unbiased.movedim(axis, -1), self.turns().to(y.dtype))
            return y + self.thinned(more.movedim(-1, axis))

        return lambda x: recomputed(self.with_dropout_of_now(adapted), x, self.factors().values())

    def limit_norm(self, most: float) -> Tensor:
        """As in LyCORIS it is the blocks that are shrunk: a turn changes a weight by how long that is."""
        norm = self.blocks.norm()
        self.blocks.mul_((most / norm).clamp(max=1.0))
        return norm


class Oft(Turned):
    """oft_blocks [blocks, size, size]: blocks of neighbouring outputs."""

    def __init__(self, target: Target, device: torch.device) -> None:
        width = target.shape[0]
        size = _cut(target) if target.blocks else _divided(width, target.rank)
        super().__init__(target, (width // size, size, size), device)

    def more(self, y: Tensor, turns: Tensor) -> Tensor:
        cut = y.unflatten(-1, turns.shape[:2])
        return torch.einsum("knm,...kn->...km", turns, cut).flatten(-2)


class Boft(Turned):
    """oft_blocks [stages, blocks, size, size]: each stage mixes outputs twice as far apart."""

    def __init__(self, target: Target, device: torch.device) -> None:
        size = _halved(target)
        count = target.shape[0] // size
        super().__init__(target, (count.bit_length(), count, size, size), device)

    def more(self, y: Tensor, turns: Tensor) -> Tensor:
        size, added = turns.shape[-1], torch.zeros_like(y)
        for stage, own in enumerate(turns):
            span = 2**stage * size // 2
            mixed = (y + added).unflatten(-1, (-1, 2, span)).transpose(-2, -1).flatten(-3)
            turned = torch.einsum("kij,...kj->...ki", own, mixed.unflatten(-1, (-1, size)))
            back = turned.flatten(-2).unflatten(-1, (-1, span, 2)).transpose(-2, -1)
            added = added + back.flatten(-3)
        return added


@torch.no_grad()
def _bias(module: nn.Module, weights: Weights, y: Tensor) -> Tensor:
    """The bias of a layer, as it is added to its output; a tensor of its own."""
    with weights.borrow(module, y.dtype, y.device) as (_, bias):
        assert bias is not None
        return bias.clone().view(-1, 1, 1) if isinstance(module, nn.Conv2d) else bias.clone()


def _cut(target: Target) -> int:
    """The size of each of so many blocks. Source: kohya's networks/oft.py."""
    width = target.shape[0]
    if width % target.blocks:
        raise ValueError(
            f"OFT cannot cut the {width} outputs of {target.key} into {target.blocks} blocks of one size; "
            "SDXL's layers can be cut into 2, 4, 8, 16 or 32."
        )
    return width // target.blocks


def _divided(width: int, most: int) -> int:
    """The size of blocks of at most ``most``, of which there are at least as many. Source: LyCORIS."""
    if width % most == 0:
        return min(most, width // most)
    sizes = range(1, min(most, math.isqrt(width)) + 1)
    return max(size for size in sizes if width % size == 0)


def _halved(target: Target) -> int:
    """The largest even size of blocks, at most the rank, of which there are a power of two."""
    width = target.shape[0]
    sizes = [size for size in range(2, width + 1, 2) if width % size == 0]
    sizes = [size for size in sizes if (width // size).bit_count() == 1]
    fitting = [size for size in sizes if size <= target.rank]
    if not fitting:
        least = f"the rank must be {sizes[0]} or more" if sizes else "no rank is right"
        raise ValueError(
            f"BOFT cannot cut the {width} outputs of {target.key} into blocks of at most {target.rank}: "
            f"{least} for this layer. For all layers of SDXL 12 is enough."
        )
    return fitting[-1]
