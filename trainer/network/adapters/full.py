"""Full fine-tuning: the change of a layer's whole weight and bias is what is trained.

The layer computes with W + diff, rounded once to the dtype of its input, as it will with the file loaded.
W stays with its owner and is borrowed (docs/design.md, "Weights belong to the host"); of W nothing is kept
for backward. LyCORIS (algo=full) and ComfyUI call the parts of a file diff and diff_b.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from ...frozen.forward import is_linear
from ...frozen.weights import WeightPair, Weights
from ..unet_targets import Target
from .base import Adapter, Forward, parameter

WEIGHT, BIAS = "diff", "diff_b"


class Full(Adapter):
    """diff in the shape of the layer's weight, diff_b [out] where it has a bias."""

    def __init__(self, target: Target, device: torch.device) -> None:
        super().__init__(target)
        layer: Any = target.module
        self.alpha = None  # nothing is scaled
        self.diff = parameter(target.shape, device, target.dtype, blank=True)
        self.diff_b = None
        if layer.bias is not None:
            self.diff_b = parameter(target.shape[:1], device, target.dtype, blank=True)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Zeros; nothing is drawn."""
        for part in self.factors().values():
            part.zero_()

    def factors(self) -> dict[str, nn.Parameter]:
        return dict(self.named_parameters())

    def around(self, frozen: Forward, module: nn.Module, weights: Weights) -> Forward:
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            return lambda x: _normed(x, module, self._of_copies(module, weights, x))
        maths = _LINEAR if is_linear(module) else _CONVOLUTION
        return lambda x: _Changed.apply(x, self.diff, self.diff_b, maths, module, weights)

    def limit_norm(self, most: float) -> Tensor:
        parts = list(self.factors().values())
        norm = torch.stack([part.norm() for part in parts]).norm()
        for part in parts:
            part.mul_((most / norm).clamp(max=1.0))  # norm 0: infinite, so 1
        return norm

    def _of_copies(self, module: nn.Module, weights: Weights, x: Tensor) -> WeightPair:
        """A norm's changed weight and bias; they are small, and autograd may save them."""
        with torch.no_grad(), weights.borrow(module, x.dtype, x.device) as pair:
            weight, bias = (None if tensor is None else tensor.clone() for tensor in pair)
        assert weight is not None
        return _sum(weight, self.diff), None if bias is None else _sum(bias, self.diff_b)


def _sum(frozen: Tensor, change: Tensor | None) -> Tensor:
    """A frozen tensor with its change, in its dtype; added in the larger of both."""
    return frozen if change is None else (change + frozen).to(frozen.dtype)


def _normed(x: Tensor, module: nn.GroupNorm | nn.LayerNorm, pair: WeightPair) -> Tensor:
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(x, module.num_groups, *pair, module.eps)
    return F.layer_norm(x, list(module.normalized_shape), *pair, module.eps)


class _Maths(NamedTuple):
    """A kind of layer: its product, and the gradients."""

    forward: Callable[[Tensor, Tensor, Tensor | None, Any], Tensor]
    to_input: Callable[[Tensor, Tensor, Tensor, Any], Tensor]
    to_weight: Callable[[Tensor, Tensor, Tensor, Any], Tensor]
    to_bias: Callable[[Tensor], Tensor]


class _Changed(torch.autograd.Function):
    """A layer with a changed weight, which is put together again in backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, diff: Tensor, diff_b: Tensor | None, maths: _Maths, module: nn.Module,
        weights: Weights,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x)
        ctx.diff = diff  # others in its buffer may be stepped before backward comes here
        ctx.maths, ctx.module, ctx.weights = maths, module, weights
        with weights.borrow(module, x.dtype, x.device) as (weight, bias):
            changed = None if bias is None else _sum(bias, diff_b)
            return maths.forward(x, _sum(weight, diff), changed, module)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x,), diff = grads, ctx.saved_tensors, ctx.diff
        of_x = of_bias = None
        if ctx.needs_input_grad[0]:
            with ctx.weights.borrow(ctx.module, grad.dtype, grad.device) as (weight, _):
                of_x = ctx.maths.to_input(grad, x, _sum(weight, diff), ctx.module)
        if ctx.needs_input_grad[2]:
            of_bias = ctx.maths.to_bias(grad)
        of_diff = ctx.maths.to_weight(grad, x, diff, ctx.module).to(diff.dtype)
        return of_x, of_diff, of_bias, None, None, None


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _geometry(conv: Any) -> tuple[Any, Any, Any, int]:
    return conv.stride, conv.padding, conv.dilation, conv.groups


_LINEAR = _Maths(
    forward=lambda x, weight, bias, _: F.linear(x, weight, bias),
    to_input=lambda grad, _, weight, __: grad @ weight,
    to_weight=lambda grad, x, *_: _rows(grad).t() @ _rows(x),
    to_bias=lambda grad: _rows(grad).sum(0, dtype=torch.float32),
)
_CONVOLUTION = _Maths(
    forward=lambda x, weight, bias, conv: F.conv2d(x, weight, bias, *_geometry(conv)),
    to_input=lambda grad, x, weight, conv: conv2d_input(x.shape, weight, grad, *_geometry(conv)),
    to_weight=lambda grad, x, diff, conv: conv2d_weight(x, diff.shape, grad, *_geometry(conv)),
    to_bias=lambda grad: grad.sum((0, 2, 3), dtype=torch.float32),
)
