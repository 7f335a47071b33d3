"""What all cross-attentions make of the context first: one product for the whole UNet.

Every key and value layer of a cross-attention reads the same context, so the down factors of all of
them lie on top of each other in one matrix, and one product gives all their hidden channels. Backward,
each block writes the gradient of its own channels; when all have, one product gives the gradients of
all these factors, and where the context wants one, another adds to its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .joint import Joint
from .stretch import Stretch


class Hidden:
    """The hidden channels of a context [B, T, in], of all cross-attentions."""

    def __init__(self, context: Tensor, stretch: Stretch) -> None:
        self._context, self._stretch = context.detach(), stretch
        self.values = torch.mm(self._rows(), self._down().t())
        """[B T, channels]."""
        self._gradients: Tensor | None = None

    def gradients(self) -> Tensor:
        """Those of the values, to be added to."""
        if self._gradients is None:
            self._gradients = torch.zeros_like(self.values)
        return self._gradients

    def finish(self, *, need_context: bool) -> Tensor | None:
        """Adds the gradients of the factors; gives what reaches the context, where that is needed."""
        of_down = torch.mm(self.gradients().t(), self._rows())
        self._stretch.add_gradients(of_down.view(-1))
        if not need_context:
            return None
        return torch.mm(self.gradients(), self._down()).view_as(self._context)

    def _rows(self) -> Tensor:
        return self._context.reshape(-1, self._context.shape[-1])

    def _down(self) -> Tensor:
        """All down factors [channels, in], in the context's dtype."""
        buffer = self._context.new_empty(self._stretch.size)
        self._stretch.read(buffer)
        return buffer.view(-1, self._context.shape[-1])


class _Last(torch.autograd.Function):
    """Gives a number to whoever uses the channels: its backward comes when theirs is done.

    Saves nothing, so it may be called within what is computed again, and its first call counts.
    """

    @staticmethod
    def forward(ctx: Any, context: Tensor, token: Tensor, hidden: Hidden) -> Tensor:
        ctx.hidden = hidden
        ctx.set_materialize_grads(False)
        return context.new_empty(())

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[Tensor | None, None, None]:
        return ctx.hidden.finish(need_context=ctx.needs_input_grad[0]), None, None


class Share(NamedTuple):
    """What one joint has of a context's hidden channels."""

    hidden: Hidden
    own: slice
    """Which channels are its own."""
    last: Tensor
    """To be given to the autograd function that uses them."""


class ContextProducts:
    """Makes the hidden channels of a context when the first block asks, and keeps them for the others.

    joints: those that read the context, in the order of the UNet.
    """

    def __init__(self, joints: Sequence[Joint]) -> None:
        self._stretch = Stretch([adapter.down for joint in joints for adapter in joint.adapters])
        self._places: dict[Joint, slice] = {}
        end = 0
        for joint in joints:
            self._places[joint] = slice(end, end + joint.rank)
            end += joint.rank
        self._first = next((joint for joint in joints if joint.rank), None)
        self._now: tuple[Tensor, Hidden, Tensor] | None = None

    def share(self, context: Tensor, joint: Joint, *, anew: bool = True) -> Share | None:
        """The channels of a joint; None where it has no adapters.

        Asked by the first block it makes them anew, for the factors may have changed since; not so
        in backward.
        """
        if not joint.rank:
            return None
        if (anew and joint is self._first) or self._now is None or self._now[0] is not context:
            hidden = Hidden(context, self._stretch)
            last = _Last.apply(context, self._stretch.parameters[0], hidden)
            self._now = context, hidden, last
        _, hidden, last = self._now
        return Share(hidden, self._places[joint], last)
