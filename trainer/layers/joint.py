"""Linear layers that read the same input, each with a LoRA beside it: the formulas, forward and backward.

Layer i gives y_i = x W_i^T + b_i + s_i h_i U_i^T for rows x [N, in], h_i = x D_i^T being its hidden
channels. W and b are frozen, D [r, in] and U [out, r] are the factors, s is alpha / rank. The D_i lie on
top of each other in one matrix D, so that one product gives all hidden channels h = x D^T [N, R].

For gradients g_i [N, out] of the y_i those of the others are

    of h_i:  s_i g_i U_i        of D:  (of h)^T x
    of U_i:  s_i g_i^T h_i      of x:  sum_i g_i W_i + (of h) D

Layers with the same rank and scale share the products with U as well, as a batch of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..frozen.weights import Weights
from ..network.adapters.lora import Lora


class Views(NamedTuple):
    """The factors of a joint in the compute dtype, or their gradients."""

    down: Tensor
    """D [R, in]."""
    ups: Sequence[Tensor]
    """U_i [out, r] of each layer that has an adapter."""
    up: Tensor
    """Where the layers are alike U [out, r] of a single one, else [layers, out, r]."""
    down_t: Tensor
    up_t: Tensor
    """The last two dimensions of these the other way round, made once."""


class Joint:
    """The layers, which give as many channels each, and what of their adapters never changes.

    adapters: None for layers without. What is said to be [layers, N, out] is [N, out] of a single layer.
    """

    def __init__(self, modules: Sequence[nn.Module], adapters: Sequence[Lora | None]) -> None:
        self.modules: Sequence[Any] = modules
        self.inner, self.width = self.modules[0].in_features, self.modules[0].out_features
        self.is_single = len(modules) == 1
        self.adapters: list[Lora] = []
        self.places: list[tuple[int, slice, float]] = []
        """Of each adapter: its layer's number, which hidden channels are its own, and s."""
        self.rank = 0
        """R, the sum of the ranks."""
        for number, adapter in enumerate(adapters):
            if adapter is not None:
                end = self.rank + len(adapter.down)
                self.adapters.append(adapter)
                self.places.append((number, slice(self.rank, end), adapter.scale))
                self.rank = end
        kinds = {(len(adapter.down), adapter.scale) for adapter in self.adapters}
        self.is_alike = len(self.adapters) == len(modules) and len(kinds) == 1
        """Whether all layers have adapters with the same rank and scale."""
        self.scale = self.adapters[0].scale if self.adapters else 1.0
        self.add_product: Any = Tensor.addmm_ if self.is_single else Tensor.baddbmm_

    def apart(self, hidden: Tensor) -> Tensor:
        """[N, R] seen as [layers, N, r]."""
        if self.is_single:
            return hidden
        return hidden.view(len(hidden), len(self.modules), -1).transpose(0, 1)


def hidden_channels(x: Tensor, joint: Joint, factors: Views) -> Tensor | None:
    """h [N, R] of x [N, in]; None where no layer has an adapter."""
    return torch.mm(x, factors.down_t) if joint.rank else None


def outputs(
    x: Tensor, hidden: Tensor | None, joint: Joint, factors: Views, weights: Weights
) -> Tensor:
    """y [layers, N, out] of x [N, in] and h."""
    if joint.is_single:
        with weights.borrow(joint.modules[0], x.dtype, x.device) as (weight, bias):
            y = F.linear(x, weight, bias)
    else:
        y = x.new_empty((len(joint.modules), x.shape[0], joint.width))
        for module, part in zip(joint.modules, y.unbind(0), strict=True):
            with weights.borrow(module, x.dtype, x.device) as (weight, bias):
                if bias is None:
                    torch.mm(x, weight.t(), out=part)
                else:
                    torch.addmm(bias, x, weight.t(), out=part)
    if hidden is None:
        return y
    if joint.is_alike:
        return joint.add_product(y, joint.apart(hidden), factors.up_t, alpha=joint.scale)
    for (number, own, scale), up in zip(joint.places, factors.ups, strict=True):
        y[number].addmm_(hidden[:, own], up.t(), alpha=scale)
    return y


def to_hidden(
    grads: Tensor,
    hidden: Tensor,
    joint: Joint,
    factors: Views,
    gradients: Views,
    onto: Tensor | None = None,
) -> Tensor:
    """The gradient of h [N, R] for grads [layers, N, out], added to ``onto``; writes those of the U_i."""
    beta = 0 if onto is None else 1
    onto = torch.empty_like(hidden) if onto is None else onto
    if joint.is_alike:
        add, scale, grads_t = joint.add_product, joint.scale, grads.transpose(-1, -2)
        add(joint.apart(onto), grads, factors.up, beta=beta, alpha=scale)
        add(gradients.up, grads_t, joint.apart(hidden), beta=0, alpha=scale)
        return onto
    ups = zip(joint.places, factors.ups, gradients.ups, strict=True)
    for (number, own, scale), up, of_up in ups:
        onto[:, own].addmm_(grads[number], up, beta=beta, alpha=scale)
        of_up.addmm_(grads[number].t(), hidden[:, own], beta=0, alpha=scale)
    return onto


def to_input(
    grads: Tensor, of_hidden: Tensor | None, joint: Joint, factors: Views, weights: Weights
) -> Tensor:
    """The gradient of x [N, in]; of_hidden: that of h, None for what goes through the weights alone."""
    of_x = None
    for module, grad in zip(joint.modules, (grads,) if joint.is_single else grads, strict=True):
        with weights.borrow(module, grad.dtype, grad.device) as (weight, _):
            of_x = torch.mm(grad, weight) if of_x is None else of_x.addmm_(grad, weight)
    assert of_x is not None
    return of_x if of_hidden is None else of_x.addmm_(of_hidden, factors.down)


def to_down(of_hidden: Tensor | None, x: Tensor, gradients: Views) -> None:
    """Writes the gradient of D."""
    if of_hidden is not None:
        torch.mm(of_hidden.t(), x, out=gradients.down)
