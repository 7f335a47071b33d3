"""Frozen layers that autograd can pass through without keeping anything of them.

The weights of a loaded model are inference tensors that may be streamed, evicted, quantised or
patched, so autograd must not save them. Each function below borrows the weight once in forward and
once more in backward, and saves neither weight nor input: the gradient of a frozen linear layer or
convolution needs the weight alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from .weights import Weights

Forward = Callable[..., Tensor]


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module, weights: Weights) -> Tensor:
        ctx.module, ctx.weights = module, weights
        with weights.borrow(module, x.dtype, x.device) as (weight, bias):
            return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        with ctx.weights.borrow(ctx.module, grad.dtype, grad.device) as (weight, _):
            return grad @ weight, None, None


class _FrozenConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Conv2d, weights: Weights) -> Tensor:
        ctx.module, ctx.weights, ctx.shape = module, weights, x.shape
        with weights.borrow(module, x.dtype, x.device) as (weight, bias):
            return F.conv2d(x, weight, bias, *_geometry(module))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        with ctx.weights.borrow(ctx.module, grad.dtype, grad.device) as (weight, _):
            grad_x = conv2d_input(ctx.shape, weight, grad, *_geometry(ctx.module))
        return grad_x, None, None


def _geometry(conv: nn.Conv2d) -> tuple[Any, Any, Any, int]:
    return conv.stride, conv.padding, conv.dilation, conv.groups


def _norm_weights(module: nn.Module, x: Tensor, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """Small copies that autograd may save: a norm's backward needs its weight."""
    with torch.no_grad(), weights.borrow(module, x.dtype, x.device) as (weight, bias):
        return weight.clone(), None if bias is None else bias.clone()


def is_linear(module: nn.Module) -> bool:
    """A linear layer, also one of ComfyUI's quantised kind, which is no nn.Linear."""
    return isinstance(module, nn.Linear) or (
        hasattr(module, "in_features") and hasattr(module, "comfy_cast_weights")
    )


def frozen_forward(module: nn.Module, weights: Weights) -> Forward | None:
    """A forward for a leaf layer that computes in the input's dtype and saves no weight.

    None for modules that hold no weight of their own to save.
    """
    if is_linear(module):
        return lambda x: _FrozenLinear.apply(x, module, weights)
    if isinstance(module, nn.Conv2d):
        return lambda x, output_size=None: _FrozenConv2d.apply(x, module, weights)
    if isinstance(module, nn.GroupNorm):
        return lambda x: F.group_norm(
            x, module.num_groups, *_norm_weights(module, x, weights), module.eps
        )
    if isinstance(module, nn.LayerNorm):
        return lambda x: F.layer_norm(
            x, module.normalized_shape, *_norm_weights(module, x, weights), module.eps
        )
    return None
