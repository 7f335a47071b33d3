"""A LoRA of smaller rank that changes the weights as nearly the same as that rank allows.

Source: the truncated singular value decomposition (Eckart and Young); kohya's networks/resize_lora.py, which
writes the result alike. Unlike there the SVD is that of a matrix of rank x rank, between the QR
decompositions of the two factors, in float64: the same singular values, without the whole weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .factors import Factors


@dataclass(frozen=True)
class Size:
    """What a layer may keep: at most ``rank``, or ``conv_rank`` where its kernel is larger than a pixel
    (0: the same), and of these the fewest that hold the share ``energy`` of its change, by squares."""

    rank: int
    energy: float = 1.0
    conv_rank: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.conv_rank < 0:
            raise ValueError(
                f"A LoRA has a rank of 1 or more; got rank {self.rank}, conv_rank {self.conv_rank}."
            )
        if not 0 < self.energy <= 1:
            raise ValueError(f"energy is {self.energy}; it is a share above 0 and up to 1.")

    def most(self, is_conv: bool) -> int:
        """The highest rank for such a layer."""
        return self.conv_rank or self.rank if is_conv else self.rank


class Kept(NamedTuple):
    """A layer after resizing, and the sums of squares of its change before and of what was left out."""

    layer: Factors
    energy: float
    lost: float


def resize(
    layers: Mapping[str, Factors],
    size: Size,
    on_layer: Callable[[int], None] = lambda done: None,
) -> dict[str, Kept]:
    """Every layer by itself, by stem. ``on_layer`` is told how many are done, and may raise to stop."""
    found: dict[str, Kept] = {}
    for stem, layer in layers.items():
        found[stem] = shrink(layer, size)
        on_layer(len(found))
    return found


def shrink(layer: Factors, size: Size) -> Kept:
    """A layer of the rank that ``size`` asks for, never above its own; one that fits stays bit for bit.

    As kohya writes it: orthonormal rows in ``down``, the singular values in ``up``, the same scale.
    """
    left, upper = torch.linalg.qr(layer.up.double())
    right, lower = torch.linalg.qr(layer.down.double().T)
    u, values, vh = torch.linalg.svd(upper @ lower.T)
    rank = min(keep(values, float((values**2).sum()), size, layer.is_conv), layer.rank)
    squares = layer.scale**2 * values**2
    if rank == layer.rank:
        return Kept(layer, float(squares.sum()), 0.0)
    up = (left @ u[:, :rank]) * values[:rank]
    down = vh[:rank] @ right.T
    made = Factors(up.float(), down.float(), layer.scale, layer.row)
    return Kept(made, float(squares.sum()), float(squares[rank:].sum()))


def keep(values: Tensor, whole: float, size: Size, is_conv: bool) -> int:
    """How many of the falling singular values to keep; at least one.

    whole: the sum of squares that ``size.energy`` is a share of.
    """
    most = min(size.most(is_conv), len(values))
    if size.energy == 1:
        return most
    reached = torch.cumsum(values.double() ** 2, 0) >= size.energy * whole
    return min(int(torch.argmax(reached.int())) + 1, most) if bool(reached.any()) else most


def relative_error(lost: float, whole: float) -> float:
    """What is missing of a change, as a share of its Frobenius norm; 0 for a change of nothing."""
    return math.sqrt(lost / whole) if whole else 0.0
