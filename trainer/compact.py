"""Adapted layers that keep little for backward: the same mathematics, recomputing only what is cheap.

Plain autograd keeps the normalised input, the input of every adapter and the output of every
activation. These functions keep the input of the norm, its statistics and the adapters' few hidden
channels, and in backward normalise or activate once more: no matrix product is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .adapters.lora import Lora
from .weights import Weights

_aten = torch.ops.aten


class Layer(NamedTuple):
    """A frozen linear layer and the LoRA beside it, if it has one."""

    module: nn.Module
    adapter: Lora | None

    def factors(self) -> list[Tensor]:
        """down [r, in] and up [out, r], or nothing."""
        return [] if self.adapter is None else [self.adapter.down, self.adapter.up]


def linears(
    x: Tensor, layers: Sequence[Layer], weights: Weights, norm: nn.LayerNorm | None = None
) -> tuple[Tensor, ...]:
    """What each of the layers makes of x [..., in], normalised first if there is a norm."""
    factors = [factor for layer in layers for factor in layer.factors()]
    return _Linears.apply(x, layers, weights, norm, *factors)


def geglu_linear(x: Tensor, layer: Layer, weights: Weights) -> Tensor:
    """The layer of value * gelu(gate), x [..., 2 in] being both side by side."""
    return _GegluLinear.apply(x, layer, weights, *layer.factors())


def feed_forward(
    x: Tensor, norm: nn.LayerNorm, inner: Layer, outer: Layer, weights: Weights
) -> Tensor:
    """Both layers of a feed-forward with its norm; what lies between them is made again in backward."""
    factors = [*inner.factors(), *outer.factors()]
    return _FeedForward.apply(x, norm, inner, outer, weights, *factors)


def norm_silu(x: Tensor, norm: nn.GroupNorm, weights: Weights) -> Tensor:
    """silu(norm(x)) for x [B, C, h, w]."""
    return _NormSilu.apply(x, norm, weights)


class _Linears(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        layers: Sequence[Layer],
        weights: Weights,
        norm: nn.LayerNorm | None,
        *factors: Tensor,
    ):
        ctx.layers, ctx.weights, ctx.norm = layers, weights, norm
        normed, statistics = (x, ()) if norm is None else _layer_norm(x, norm, weights)
        outputs, hiddens = zip(*(_forward(normed, layer, weights) for layer in layers), strict=True)
        ctx.save_for_backward(x, *statistics, *(h for h in hiddens if h is not None))
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        x, *rest = ctx.saved_tensors
        statistics, hiddens = (rest[:2], rest[2:]) if ctx.norm is not None else ([], rest)
        normed = x if ctx.norm is None else _normalised(x, ctx.norm, ctx.weights, *statistics)
        remaining, inner, factors = list(hiddens), None, []
        for grad, layer in zip(grads, ctx.layers, strict=True):
            hidden = remaining.pop(0) if layer.adapter is not None else None
            step, of_factors = _backward(
                grad, normed, hidden, layer, ctx.weights, need_input=ctx.needs_input_grad[0]
            )
            factors += of_factors
            if step is not None:
                inner = step if inner is None else inner.add_(step)
        if inner is not None and ctx.norm is not None:
            inner = _layer_norm_backward(inner, x, ctx.norm, ctx.weights, *statistics)
        return inner, None, None, None, *factors


class _GegluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, weights: Weights, *factors: Tensor) -> Tensor:
        ctx.layer, ctx.weights = layer, weights
        value, gate = x.chunk(2, -1)
        output, hidden = _forward(value * F.gelu(gate), layer, weights)
        ctx.save_for_backward(x, *([] if hidden is None else [hidden]))
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        x, *hidden = ctx.saved_tensors
        grad, factors = _geglu_backward(grads[0], x, hidden, ctx.layer, ctx.weights)
        return grad, None, None, *factors


def _geglu_backward(
    grad: Tensor, x: Tensor, hidden: Sequence[Tensor], layer: Layer, weights: Weights
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of x and of the layer's factors."""
    value, gate = x.chunk(2, -1)
    activated = F.gelu(gate)
    inner, factors = _backward(
        grad,
        value * activated,
        hidden[0] if hidden else None,
        layer,
        weights,
        need_input=True,
    )
    assert inner is not None
    of_x = torch.empty_like(x)
    of_value, of_gate = of_x.chunk(2, -1)
    torch.mul(inner, activated, out=of_value)
    of_gate.copy_(_aten.gelu_backward(inner.mul_(value), gate))
    return of_x, factors


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: nn.LayerNorm,
        inner: Layer,
        outer: Layer,
        weights: Weights,
        *factors: Tensor,
    ) -> Tensor:
        ctx.parts = norm, inner, outer, weights
        normed, statistics = _layer_norm(x, norm, weights)
        both, _ = _forward(normed, inner, weights)
        value, gate = both.chunk(2, -1)
        output, hidden = _forward(value * F.gelu(gate), outer, weights)
        ctx.save_for_backward(x, *statistics, *([] if hidden is None else [hidden]))
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        norm, inner, outer, weights = ctx.parts
        x, *statistics = ctx.saved_tensors
        statistics, hidden = statistics[:2], statistics[2:]
        normed = _normalised(x, norm, weights, *statistics)
        both, inner_hidden = _forward(normed, inner, weights)
        of_both, of_outer = _geglu_backward(grads[0], both, hidden, outer, weights)
        of_x, of_inner = _backward(
            of_both, normed, inner_hidden, inner, weights, need_input=ctx.needs_input_grad[0]
        )
        if of_x is not None:
            of_x = _layer_norm_backward(of_x, x, norm, weights, *statistics)
        return of_x, None, None, None, None, *of_inner, *of_outer


class _NormSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: nn.GroupNorm, weights: Weights) -> Tensor:
        ctx.norm, ctx.weights = norm, weights
        output, statistics = activated_norm(x, norm, weights)
        ctx.save_for_backward(x, *statistics)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, *statistics = ctx.saved_tensors
        return activated_norm_backward(grads[0], x, ctx.norm, ctx.weights, *statistics), None, None


def activated_norm(
    x: Tensor, norm: nn.GroupNorm, weights: Weights
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """silu(norm(x)), and the mean and reciprocal deviation of each group; outside of autograd."""
    with weights.borrow(norm, x.dtype, x.device) as (weight, bias):
        normed, mean, rstd = _aten.native_group_norm(
            x.contiguous(), weight, bias, *_shape(x), norm.num_groups, norm.eps
        )
    return F.silu(normed, inplace=True), (mean, rstd)


def activated_norm_backward(
    grad: Tensor, x: Tensor, norm: nn.GroupNorm, weights: Weights, mean: Tensor, rstd: Tensor
) -> Tensor:
    """The gradient of x for that of silu(norm(x)); normalises once more."""
    x, shape = x.contiguous(), _shape(x)
    with weights.borrow(norm, x.dtype, x.device) as (weight, bias):
        normed, *_ = _aten.native_group_norm(x, weight, bias, *shape, norm.num_groups, norm.eps)
        inner = _aten.silu_backward(grad.contiguous(), normed)
        of_x, *_ = _aten.native_group_norm_backward(
            inner, x, mean, rstd, weight, *shape, norm.num_groups, [True, False, False]
        )
    return of_x


def _shape(x: Tensor) -> tuple[int, int, int]:
    """(batch, channels, pixels) as the native group norm wants them."""
    return x.shape[0], x.shape[1], x[0, 0].numel()


def _layer_norm(
    x: Tensor, norm: nn.LayerNorm, weights: Weights
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    with weights.borrow(norm, x.dtype, x.device) as (weight, bias):
        normed, mean, rstd = _aten.native_layer_norm(
            x, norm.normalized_shape, weight, bias, norm.eps
        )
    return normed, (mean, rstd)


def _normalised(
    x: Tensor, norm: nn.LayerNorm, weights: Weights, mean: Tensor, rstd: Tensor
) -> Tensor:
    normed, _ = _layer_norm(x, norm, weights)
    return normed


def _layer_norm_backward(
    grad: Tensor, x: Tensor, norm: nn.LayerNorm, weights: Weights, mean: Tensor, rstd: Tensor
) -> Tensor:
    with weights.borrow(norm, x.dtype, x.device) as (weight, bias):
        of_x, *_ = _aten.native_layer_norm_backward(
            grad, x, norm.normalized_shape, mean, rstd, weight, bias, [True, False, False]
        )
    return of_x


def _forward(x: Tensor, layer: Layer, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """The layer's output [..., out], and the adapter's hidden channels [N, r]."""
    with weights.borrow(layer.module, x.dtype, x.device) as (weight, bias):
        output = F.linear(x, weight, bias)
    adapter = layer.adapter
    if adapter is None:
        return output, None
    hidden = x.reshape(-1, x.shape[-1]) @ adapter.down.to(x.dtype).T
    output.view(-1, output.shape[-1]).addmm_(hidden, adapter.up.to(x.dtype).T, alpha=adapter.scale)
    return output, hidden


def _backward(
    grad: Tensor,
    x: Tensor,
    hidden: Tensor | None,
    layer: Layer,
    weights: Weights,
    *,
    need_input: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """Gradients of the layer's input and of its factors, for x as it came in."""
    of_x = None
    if need_input:
        with weights.borrow(layer.module, grad.dtype, grad.device) as (weight, _):
            of_x = grad @ weight
    adapter = layer.adapter
    if adapter is None or hidden is None:
        return of_x, []
    rows = grad.reshape(-1, grad.shape[-1])
    down, up = adapter.down.to(grad.dtype), adapter.up.to(grad.dtype)
    of_hidden = (rows @ up).mul_(adapter.scale)
    of_down = of_hidden.T @ x.reshape(-1, x.shape[-1])
    of_up = (rows.T @ hidden).mul_(adapter.scale)
    if of_x is not None:
        of_x.view(-1, of_x.shape[-1]).addmm_(of_hidden, down)
    return of_x, [of_down.to(adapter.down.dtype), of_up.to(adapter.up.dtype)]
