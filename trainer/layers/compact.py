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

from ..frozen.weights import Weights
from ..network.adapters.lora import Lora
from .elementwise import Elementwise

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


def geglu_linear(x: Tensor, layer: Layer, weights: Weights, elementwise: Elementwise) -> Tensor:
    """The layer of value * gelu(gate), x [..., 2 in] being both side by side."""
    return _GegluLinear.apply(x, layer, weights, elementwise, *layer.factors())


def feed_forward(
    x: Tensor,
    norm: nn.LayerNorm,
    inner: Layer,
    outer: Layer,
    weights: Weights,
    elementwise: Elementwise,
) -> Tensor:
    """Both layers of a feed-forward with its norm; what lies between them is made again in backward."""
    factors = [*inner.factors(), *outer.factors()]
    return _FeedForward.apply(x, norm, inner, outer, weights, elementwise, *factors)


def norm_silu(x: Tensor, norm: nn.GroupNorm, weights: Weights, elementwise: Elementwise) -> Tensor:
    """silu(norm(x)) for x [B, C, h, w]."""
    return _NormSilu.apply(x, norm, weights, elementwise)


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
        normed = x if ctx.norm is None else _layer_norm(x, ctx.norm, ctx.weights)[0]
        remaining, inner, factors = list(hiddens), None, []
        for grad, layer in zip(grads, ctx.layers, strict=True):
            hidden = remaining.pop(0) if layer.adapter is not None else None
            inner, of_hidden = _inwards(
                grad, layer, ctx.weights, need_input=ctx.needs_input_grad[0], onto=inner
            )
            factors += _of_factors(grad, normed, hidden, of_hidden, layer)
        if inner is not None and ctx.norm is not None:
            inner = _layer_norm_backward(inner, x, ctx.norm, ctx.weights, *statistics)
        return inner, None, None, None, *factors


class _GegluLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        layer: Layer,
        weights: Weights,
        elementwise: Elementwise,
        *factors: Tensor,
    ) -> Tensor:
        ctx.layer, ctx.weights, ctx.elementwise = layer, weights, elementwise
        output, hidden = _forward(elementwise.geglu(x), layer, weights)
        ctx.save_for_backward(x, *([] if hidden is None else [hidden]))
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        x, *hidden = ctx.saved_tensors
        of_x, factors = _geglu_backward(
            grads[0], x, hidden, ctx.layer, ctx.weights, ctx.elementwise
        )
        return of_x, None, None, None, *factors


def _geglu_backward(
    grad: Tensor,
    x: Tensor,
    hidden: Sequence[Tensor],
    layer: Layer,
    weights: Weights,
    elementwise: Elementwise,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of x [..., 2 in] and of the layer's factors."""
    inner, of_hidden = _inwards(grad, layer, weights)
    assert inner is not None
    of_x, product = elementwise.geglu_backward(inner, x)
    return of_x, _of_factors(grad, product, hidden[0] if hidden else None, of_hidden, layer)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: nn.LayerNorm,
        inner: Layer,
        outer: Layer,
        weights: Weights,
        elementwise: Elementwise,
        *factors: Tensor,
    ) -> Tensor:
        ctx.parts = norm, inner, outer, weights, elementwise
        normed, statistics = _layer_norm(x, norm, weights)
        both, _ = _forward(normed, inner, weights)
        output, hidden = _forward(elementwise.geglu(both), outer, weights)
        ctx.save_for_backward(x, *statistics, *([] if hidden is None else [hidden]))
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        norm, inner, outer, weights, elementwise = ctx.parts
        x, *statistics = ctx.saved_tensors
        statistics, hidden = statistics[:2], statistics[2:]
        normed, _ = _layer_norm(x, norm, weights)
        both, inner_hidden = _forward(normed, inner, weights)
        of_both, of_outer = _geglu_backward(grads[0], both, hidden, outer, weights, elementwise)
        of_x, of_hidden = _inwards(of_both, inner, weights, need_input=ctx.needs_input_grad[0])
        of_inner = _of_factors(of_both, normed, inner_hidden, of_hidden, inner)
        if of_x is not None:
            of_x = _layer_norm_backward(of_x, x, norm, weights, *statistics)
        return of_x, None, None, None, None, None, *of_inner, *of_outer


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


def _layer_norm(
    x: Tensor, norm: nn.LayerNorm, weights: Weights
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    with weights.borrow(norm, x.dtype, x.device) as (weight, bias):
        normed, mean, rstd = _aten.native_layer_norm(
            x, norm.normalized_shape, weight, bias, norm.eps
        )
    return normed, (mean, rstd)


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


def _inwards(
    grad: Tensor,
    layer: Layer,
    weights: Weights,
    *,
    need_input: bool = True,
    onto: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the layer's input, added to what is there, and of the adapter's hidden channels."""
    of_x = of_hidden = None
    rows = grad.reshape(-1, grad.shape[-1])
    if need_input:
        with weights.borrow(layer.module, grad.dtype, grad.device) as (weight, _):
            if onto is None:
                of_x = grad @ weight
            else:
                of_x = onto
                of_x.view(-1, of_x.shape[-1]).addmm_(rows, weight)
    adapter = layer.adapter
    if adapter is not None:
        of_hidden = _scaled_product(rows, adapter.up.to(grad.dtype), adapter.scale)
        if of_x is not None:
            of_x.view(-1, of_x.shape[-1]).addmm_(of_hidden, adapter.down.to(grad.dtype))
    return of_x, of_hidden


def _of_factors(
    grad: Tensor, x: Tensor, hidden: Tensor | None, of_hidden: Tensor | None, layer: Layer
) -> list[Tensor]:
    """Gradients of the adapter's factors, if there is one, for x as it came in."""
    adapter = layer.adapter
    if adapter is None or hidden is None or of_hidden is None:
        return []
    of_down = of_hidden.T @ x.reshape(-1, x.shape[-1])
    of_up = _scaled_product(grad.reshape(-1, grad.shape[-1]).T, hidden, adapter.scale)
    return [of_down.to(adapter.down.dtype), of_up.to(adapter.up.dtype)]


def _scaled_product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale * a @ b for matrices, without a pass for the scale."""
    return torch.addmm(a.new_empty(1), a, b, beta=0, alpha=scale)
