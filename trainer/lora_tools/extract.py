"""The difference of two weights as a LoRA layer of low rank.

Source: kohya's networks/extract_lora_from_models.py, without its clamp, which cuts the largest hundredth
of the numbers off (docs/kohya.md). Large weights take a randomised SVD instead of a whole one (Halko,
Martinsson and Tropp 2011, what torch.svd_lowrank does), with draws of their own instead of torch's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..rng import generator
from .factors import Factors
from .resize import Kept, Size, keep

SPARE = 16
"""So many directions more than asked for are followed, for accuracy."""
ROUNDS = 4
"""Power iterations."""
SEED = 0


def extract(change: Tensor, size: Size, key: str) -> Kept | None:
    """``change``, tuned minus base, [out, in] or [out, in, k, k], computed with where it lies, in float32.

    key: names the layer's draws. None where nothing has changed.
    What is lost is measured on the result, not estimated from singular values.
    """
    matrix = change.flatten(1).float()
    whole = _energy(matrix)
    if not whole:
        return None
    row = tuple(change.shape[1:])
    is_conv = math.prod(row[1:]) > 1
    u, values, vh = _decompose(matrix, size.most(is_conv), key)
    rank = keep(values, whole, size, is_conv)
    up, down = u[:, :rank] * values[:rank], vh[:rank]
    lost = _energy(matrix - up @ down)
    return Kept(Factors(up.cpu(), down.cpu(), 1.0, row), whole, lost)


def _energy(matrix: Tensor) -> float:
    return float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) ** 2


def _decompose(matrix: Tensor, rank: int, key: str) -> tuple[Tensor, Tensor, Tensor]:
    """The largest singular values and their vectors: all of a small matrix, some of a large one."""
    wanted = rank + SPARE
    if 2 * wanted >= min(matrix.shape):
        return torch.linalg.svd(matrix, full_matrices=False)
    draws = torch.randn(matrix.shape[1], wanted, generator=generator(SEED, "extract", key))
    basis = torch.linalg.qr(matrix @ draws.to(matrix.device))[0]
    for _ in range(ROUNDS):
        basis = torch.linalg.qr(matrix.T @ basis)[0]
        basis = torch.linalg.qr(matrix @ basis)[0]
    u, values, vh = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return basis @ u, values, vh
