"""SDXL's size conditioning: the vector `y` beside the text (Podell et al. 2023, section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .constants import NUMBER_WIDTH

MAX_PERIOD = 10_000
_HALF = NUMBER_WIDTH // 2
_FREQUENCIES = torch.exp(-math.log(MAX_PERIOD) * torch.arange(_HALF, dtype=torch.float32) / _HALF)


def sinusoid(values: Tensor) -> Tensor:
    """Timestep embedding of each number: cosines first. [...] -> [..., 256] float32."""
    angles = values.float()[..., None] * _FREQUENCIES
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def size_vector(pooled: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
    """y [B, P + 1536] from the pooled text [B, P] and six numbers a sample.

    The numbers are (original h, original w, crop top, crop left, target h, target w), as in
    kohya and in ComfyUI's encode_adm.
    """
    numbers = torch.tensor(list(sizes), dtype=torch.float32)
    return torch.cat([pooled.float(), sinusoid(numbers).flatten(1).to(pooled.device)], dim=1)
