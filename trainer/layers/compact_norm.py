"""Group norms that keep their input and statistics; with SiLU as one they are computed once more in backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..frozen.weights import Weights
from .elementwise import Elementwise


def norm_silu(x: Tensor, norm: nn.GroupNorm, weights: Weights, elementwise: Elementwise) -> Tensor:
    """silu(norm(x)) for x [B, C, h, w]."""
    return _NormSilu.apply(x, norm, weights, elementwise)


class _NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: nn.GroupNorm, weights: Weights, elementwise: Elementwise
    ) -> Tensor:
        ctx.parts = norm, weights, elementwise
        output, *statistics = activated_norm(x, norm, weights, elementwise)
        ctx.save_for_backward(x, *statistics)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        x, *statistics = ctx.saved_tensors
        norm, weights, elementwise = ctx.parts
        of_x = activated_norm_backward(grads[0], x, norm, weights, elementwise, statistics)
        return of_x, None, None, None


def group_norm(x: Tensor, norm: nn.GroupNorm, weights: Weights) -> Tensor:
    """norm(x) for x [B, C, h, w], without copies of its weights."""
    return _Norm.apply(x, norm, weights)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: nn.GroupNorm, weights: Weights) -> Tensor:
        x = x.contiguous()
        shape = x.shape[0], x.shape[1], x[0, 0].numel(), norm.num_groups
        ctx.given = norm, weights, shape
        with weights.borrow(norm, x.dtype, x.device) as pair:
            normed, *statistics = torch.native_group_norm(x, *pair, *shape, norm.eps)
        ctx.save_for_backward(x, *statistics)
        return normed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x, *statistics), grad = ctx.saved_tensors, grads[0].contiguous()
        norm, weights, shape = ctx.given
        with weights.borrow(norm, x.dtype, x.device) as (weight, _):
            of_x, *_ = torch.ops.aten.native_group_norm_backward.default(
                grad, x, *statistics, weight, *shape, [True, False, False]
            )
        return of_x, None, None


def activated_norm(
    x: Tensor, norm: nn.GroupNorm, weights: Weights, elementwise: Elementwise
) -> tuple[Tensor, Tensor, Tensor]:
    """silu(norm(x)), and the mean and reciprocal deviation of each group; outside of autograd."""
    with weights.borrow(norm, x.dtype, x.device) as (weight, bias):
        assert bias is not None  # a group norm has both or neither
        return elementwise.norm_silu(x, weight, bias, norm.num_groups, norm.eps)


def activated_norm_backward(
    grad: Tensor,
    x: Tensor,
    norm: nn.GroupNorm,
    weights: Weights,
    elementwise: Elementwise,
    statistics: Sequence[Tensor],
) -> Tensor:
    """The gradient of x for that of silu(norm(x))."""
    with weights.borrow(norm, x.dtype, x.device) as pair:
        return elementwise.norm_silu_backward(grad, x, *pair, statistics, norm.num_groups, norm.eps)
