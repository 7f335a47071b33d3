"""What compact layers compute element by element, between the matrix products, and how to go back.

Each function is one step of the mathematics, whatever it takes to compute it. These here are made of
PyTorch's operations; kernels has the same ones with fewer passes over memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_aten = torch.ops.aten


class Elementwise(NamedTuple):
    """The functions, as one of the modules has them; those of the same name below say what they do."""

    geglu: Callable[[Tensor], Tensor]
    geglu_backward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    norm_silu: Callable[[Tensor, Tensor, Tensor, int, float], tuple[Tensor, Tensor, Tensor]]
    norm_silu_backward: Callable[..., Tensor]


def geglu(both: Tensor) -> Tensor:
    """value * gelu(gate) [..., n] for both [..., 2 n], value and gate side by side."""
    value, gate = both.chunk(2, -1)
    return F.gelu(gate).mul_(value)


def geglu_backward(grad: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of both [..., 2 n] and, once more, what geglu gave [..., n].

    The latter may lie where grad [..., n] was: grad is used up.
    """
    value, gate = both.chunk(2, -1)
    of_both = torch.empty_like(both)
    of_value, of_gate = of_both.chunk(2, -1)
    activated = F.gelu(gate)
    torch.mul(grad, activated, out=of_value)
    _aten.gelu_backward.grad_input(grad.mul_(value), gate, grad_input=of_gate)
    return of_both, activated.mul_(value)


def norm_silu(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """silu of the group norm of x [B, C, h, w]; mean and 1 / deviation of each group [B, groups]."""
    x = x.contiguous()
    normed, mean, rstd = torch.native_group_norm(x, weight, bias, *_shape(x), groups, eps)
    return F.silu(normed, inplace=True), mean, rstd


def norm_silu_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    statistics: tuple[Tensor, Tensor],
    groups: int,
    eps: float,
) -> Tensor:
    """The gradient of x [B, C, h, w]; statistics: mean and 1 / deviation, as norm_silu gave them.

    Normalises again: with the statistics at hand it would take more passes or lose digits.
    """
    grad, x, shape = grad.contiguous(), x.contiguous(), _shape(x)
    normed, *_ = torch.native_group_norm(x, weight, bias, *shape, groups, eps)
    of_normed = _aten.silu_backward.default(grad, normed)
    of_x, *_ = _aten.native_group_norm_backward.default(
        of_normed, x, *statistics, weight, *shape, groups, [True, False, False]
    )
    return of_x


def _shape(x: Tensor) -> tuple[int, int, int]:
    """(batch, channels, pixels) as the native group norm wants them."""
    return x.shape[0], x.shape[1], x[0, 0].numel()


EAGER = Elementwise(geglu, geglu_backward, norm_silu, norm_silu_backward)
"""PyTorch's operations: on every device."""
