"""The autograd functions that a compact transformer block is made of.

They keep the input of a norm and its statistics, the hidden channels of the LoRAs and what attention
gave, and in backward normalise and activate once more: no matrix product is computed twice. They pass
on the gradients of x and of the context; those of the factors they write themselves (see trainer/layers/factors.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..frozen.weights import Weights
from .context_products import Share
from .elementwise import Elementwise
from .factors import Factors
from .joint import Joint, hidden_channels, outputs, to_down, to_hidden, to_input


@dataclass(frozen=True)
class Part:
    """What computes together: a block, or a layer outside of one.

    begins, ends: whether it is the first or last of the blocks that read their factors together.
    """

    factors: Factors
    weights: Weights
    elementwise: Elementwise
    heads: int = 1
    begins: bool = True
    ends: bool = True


def project(
    x: Tensor,
    norm: nn.LayerNorm,
    joint: Joint,
    part: Part,
    context: Tensor | None = None,
    of_context: Joint | None = None,
    share: Share | None = None,
    *,
    begins: bool = False,
) -> Sequence[Tensor]:
    """What ``joint`` makes of the normalised x [B, T, C], and ``of_context`` of the context [B, S, D].

    Each [B, heads, T or S, width]. begins: the factors are read from here on; share: of the context's hidden channels.
    """
    last = None if share is None else share.last
    given = norm, joint, part, begins, of_context, share
    return _Project.apply(x, context, part.factors.token, last, given)


def close(
    x: Tensor, joint: Joint, part: Part, residual: Tensor | None = None, *, alone: bool = False
) -> Tensor:
    """residual + what a layer makes of attention's x [B, heads, T, width].

    alone: the layer is a part of its own, with an x [..., in].
    """
    return _Close.apply(x, residual, part.factors.token, (joint, part, alone))


def feed_forward(
    x: Tensor,
    norm: nn.LayerNorm,
    inner: Joint,
    outer: Joint,
    part: Part,
    *,
    again: bool = False,
    gives: bool = True,
) -> Tensor:
    """x + what both layers of a feed-forward make of the normalised x [B, T, C].

    again: what lies between them is not kept but computed again; gives: False where only what is
    kept is wanted: the numbers of the result are any.
    """
    return _FeedForward.apply(x, part.factors.token, (norm, inner, outer, part, again, gives))


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, context: Tensor | None, token: Any, last: Any, given: Any):
        norm, joint, part, begins, of_context, share = ctx.given = given
        if begins:
            part.factors.begin(x)
        rows = _rows(x)
        normed, *statistics = _normalise(rows, norm, part.weights)
        y, hidden = _forward(normed, joint, part)
        found = _apart(y, x, part)
        ctx.save_for_backward(rows, hidden, *statistics)
        ctx.shapes = x.shape, None if context is None else context.shape
        if of_context is not None and context is not None:
            channels = None if share is None else share.hidden.values[:, share.own]
            factors = part.factors.values(of_context, x)
            y = outputs(_rows(context), channels, of_context, factors, part.weights)
            found += _apart(y, context, part)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        norm, joint, part, begins, of_context, share = ctx.given
        rows, hidden, *statistics = ctx.saved_tensors
        count = len(joint.modules)
        to_x = to_context = None
        if of_context is not None:
            needed = ctx.needs_input_grad[1]
            to_context = _to_context(_together(grads[count:]), of_context, share, part, needed)
            to_context = to_context if to_context is None else to_context.view(ctx.shapes[1])
        own = _together(grads[:count])
        of_hidden = _to_hidden(own, hidden, joint, part)
        if hidden is not None:
            normed, *_ = _normalise(rows, norm, part.weights)
            to_down(of_hidden, normed, part.factors.gradients(joint, rows))
        if ctx.needs_input_grad[0]:
            to_x = _to_input(own, of_hidden, joint, part)
            to_x = _denormalise(to_x, rows, norm, part.weights, *statistics).view(ctx.shapes[0])
        if begins:
            part.factors.end_backward(rows)
        return to_x, to_context, None, None, None


def _to_context(
    grads: Tensor, joint: Joint, share: Share | None, part: Part, needed: bool
) -> Tensor | None:
    """The gradient of the context, if needed, but for what goes through hidden channels: they get theirs."""
    factors = part.factors.values(joint, grads)
    if share is not None:
        channels, gradients = (
            whole[:, share.own] for whole in (share.hidden.values, share.hidden.gradients())
        )
        of_ups = part.factors.gradients(joint, grads)
        to_hidden(grads, channels, joint, factors, of_ups, onto=gradients)
    return to_input(grads, None, joint, factors, part.weights) if needed else None


class _Close(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Any, token: Any, given: Any) -> Tensor:
        joint, part, alone = ctx.given = given
        if alone:
            part.factors.begin(x)
        tokens = x if alone else x.transpose(1, 2).flatten(2)
        y, hidden = _forward(_rows(tokens), joint, part)
        ctx.save_for_backward(x, hidden)
        ctx.adds = residual is not None
        y = y.view(*tokens.shape[:-1], -1)
        return y if residual is None else y.add_(residual)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        (joint, part, alone), (x, hidden) = ctx.given, ctx.saved_tensors
        if alone:
            part.factors.begin_backward(x)
        tokens = x if alone else x.transpose(1, 2).flatten(2)
        grad, to_x = _rows(grads[0]), None
        of_hidden = _to_hidden(grad, hidden, joint, part)
        to_down(of_hidden, _rows(tokens), part.factors.gradients(joint, x))
        if ctx.needs_input_grad[0]:
            to_x = _to_input(grad, of_hidden, joint, part).view(tokens.shape)
            if not alone:
                to_x = to_x.view(*tokens.shape[:2], x.shape[1], -1).transpose(1, 2)
        if alone:
            part.factors.end_backward(x)
        return to_x, grads[0] if ctx.adds else None, None, None


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, token: Any, given: Any) -> Tensor:
        norm, inner, outer, part, again, gives = ctx.given = given
        rows = _rows(x)
        normed, *statistics = _normalise(rows, norm, part.weights)
        both, of_inner = _forward(normed, inner, part)
        product, factors = part.elementwise.geglu(both), part.factors.values(outer, x)
        of_outer = hidden_channels(product, outer, factors)
        kept = (None, None) if again else (both, of_inner)
        ctx.save_for_backward(rows, of_outer, *kept, *statistics)
        if not gives:
            return torch.empty_like(x)
        return outputs(product, of_outer, outer, factors, part.weights).add_(rows).view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        norm, inner, outer, part, again, _ = ctx.given
        rows, of_outer, both, of_inner, *statistics = ctx.saved_tensors
        if part.ends:
            part.factors.begin_backward(rows)
        normed, *_ = _normalise(rows, norm, part.weights)
        if again:
            both, of_inner = _forward(normed, inner, part)
        grad = _rows(grads[0])
        of_hidden = _to_hidden(grad, of_outer, outer, part)
        to_product = _to_input(grad, of_hidden, outer, part)
        to_both, product = part.elementwise.geglu_backward(to_product, both)
        to_down(of_hidden, product, part.factors.gradients(outer, rows))
        of_hidden = _to_hidden(to_both, of_inner, inner, part)
        to_down(of_hidden, normed, part.factors.gradients(inner, rows))
        to_normed = _to_input(to_both, of_hidden, inner, part)
        to_x = _denormalise(to_normed, rows, norm, part.weights, *statistics).add_(grad)
        return to_x.view_as(grads[0]), None, None


def _forward(x: Tensor, joint: Joint, part: Part) -> tuple[Tensor, Tensor | None]:
    """What the layers make of x [N, in], [layers, N, out], and their hidden channels."""
    factors = part.factors.values(joint, x)
    hidden = hidden_channels(x, joint, factors)
    return outputs(x, hidden, joint, factors, part.weights), hidden


def _to_hidden(grads: Tensor, hidden: Tensor | None, joint: Joint, part: Part) -> Tensor | None:
    """The gradient of the hidden channels, for grads [layers, N, out]."""
    if hidden is None:
        return None
    factors = part.factors.values(joint, grads)
    gradients = part.factors.gradients(joint, grads)
    return to_hidden(grads, hidden, joint, factors, gradients)


def _to_input(grads: Tensor, of_hidden: Tensor | None, joint: Joint, part: Part) -> Tensor:
    return to_input(grads, of_hidden, joint, part.factors.values(joint, grads), part.weights)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _apart(y: Tensor, like: Tensor, part: Part) -> tuple[Tensor, ...]:
    """y [layers, N, C] as a tensor [B, heads, T, width] of each layer."""
    batch, tokens, _ = like.shape
    if y.dim() == 2:  # a single layer
        return (y.view(batch, tokens, part.heads, -1).transpose(1, 2),)
    return y.view(len(y), batch, tokens, part.heads, -1).transpose(2, 3).unbind(0)


def _together(grads: Sequence[Tensor]) -> Tensor:
    """The inverse of `_apart`, [layers, N, C]."""
    tokens = [grad.transpose(1, 2) for grad in grads]
    width = tokens[0].shape[-2] * tokens[0].shape[-1]
    if len(tokens) == 1:
        return tokens[0].reshape(-1, width)
    return torch.stack(tokens).view(len(tokens), -1, width)


def _normalise(x: Tensor, norm: nn.LayerNorm, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised rows, and the mean and reciprocal deviation of each."""
    with weights.borrow(norm, x.dtype, x.device) as (weight, bias):
        return torch.native_layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)


def _denormalise(
    grad: Tensor, x: Tensor, norm: nn.LayerNorm, weights: Weights, mean: Tensor, rstd: Tensor
) -> Tensor:
    """The gradient of x for that of the normalised rows."""
    with weights.borrow(norm, x.dtype, x.device) as (weight, bias):
        of_x, *_ = torch.ops.aten.native_layer_norm_backward.default(
            grad, x, norm.normalized_shape, mean, rstd, weight, bias, [True, False, False]
        )
    return of_x
