"""Adapted convolutions that keep their input and a few hidden channels, behind norm and SiLU the norm's input."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from ..frozen.weights import Weights
from ..network.adapters.lora import Lora
from .compact_norm import activated_norm, activated_norm_backward
from .elementwise import EAGER, Elementwise


def convolution(
    x: Tensor,
    module: nn.Conv2d,
    adapter: Lora,
    weights: Weights,
    norm: nn.GroupNorm | None = None,
    elementwise: Elementwise = EAGER,
) -> Tensor:
    """What the layer makes with its adapter of x [B, C, h, w], or of silu(norm(x))."""
    given = module, adapter, weights, norm, elementwise
    return _Convolution.apply(x, given, adapter.down, adapter.up)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, given: Any, *factors: Tensor) -> Tensor:
        module, adapter, weights, norm, elementwise = ctx.given = given
        inner, *statistics = (x,) if norm is None else activated_norm(x, norm, weights, elementwise)
        with weights.borrow(module, x.dtype, x.device) as (weight, bias):
            output = F.conv2d(inner, weight, bias, *_geometry(module))
        hidden = F.conv2d(inner, adapter.down.to(x.dtype), None, *_geometry(module))
        output.add_(F.conv2d(hidden, adapter.up.to(x.dtype)), alpha=adapter.scale)
        ctx.save_for_backward(x, *statistics, hidden)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        (grad,), (x, *statistics, hidden) = grads, ctx.saved_tensors
        module, adapter, weights, norm, elementwise = ctx.given
        down, up = adapter.down.to(grad.dtype), adapter.up.to(grad.dtype)
        geometry = _geometry(module)
        inner = x if norm is None else activated_norm(x, norm, weights, elementwise)[0]
        of_hidden = F.conv2d(grad, up.transpose(0, 1)).mul_(adapter.scale)
        of_up = torch.einsum("bohw,bihw->oi", grad, hidden).mul_(adapter.scale)
        of_down = conv2d_weight(inner, down.shape, of_hidden, *geometry)
        of_x = None
        if ctx.needs_input_grad[0]:
            with weights.borrow(module, grad.dtype, grad.device) as (weight, _):
                of_x = conv2d_input(inner.shape, weight, grad, *geometry)
            of_x += conv2d_input(inner.shape, down, of_hidden, *geometry)
            if norm is not None:
                of_x = activated_norm_backward(of_x, x, norm, weights, elementwise, statistics)
        factors = of_down.to(adapter.down.dtype), of_up.view_as(up).to(adapter.up.dtype)
        return of_x, None, *factors


def _geometry(conv: Any) -> tuple[Any, Any, Any]:
    return conv.stride, conv.padding, conv.dilation
