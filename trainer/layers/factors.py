"""The LoRA factors of blocks that follow each other, in the dtype that they compute in.

They are cast into a scratch that all such runs of blocks with the same shapes share, so that nothing is
kept twice: when the forward of the first block begins, and again when backward comes to the last one.
Gradients gather in the scratch likewise, and are added to those of the parameters when backward is done
with the first block. A layer that computes alone is such a run too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .joint import Joint, Views
from .stretch import Stretch

Scratches = dict[Any, "_Scratch"]
"""Those of a UNet, by what they are for."""


class Factors:
    """The factors of the joints of some blocks, in the order in which the forward computes them.

    contexts: joints that read the context; their down factors lie elsewhere (see trainer/layers/context_products.py).
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[Joint]],
        scratches: Scratches,
        contexts: Collection[Joint] = (),
    ) -> None:
        self._blocks, self._scratches, self._contexts = blocks, scratches, contexts
        self._stretch = Stretch([p for block in blocks for p in _in_order(block, contexts)])
        joints = [joint for block in blocks for joint in block]
        self._places = {joint: place for place, joint in enumerate(joints)}
        self._shape = tuple(
            (joint.width, joint.inner, joint.is_alike, joint in contexts, *map(str, joint.places))
            for joint in joints
        )
        self._scratch: _Scratch | None = None

    @property
    def token(self) -> nn.Parameter | None:
        """A parameter, given to autograd functions so that backward comes to them."""
        return self._stretch.parameters[0] if self._stretch.parameters else None

    def begin(self, like: Tensor) -> None:
        """A forward of the first block begins, in dtype and on the device of ``like``."""
        self._own(like).read(self)

    def values(self, joint: Joint, like: Tensor) -> Views:
        """The factors of one of the joints."""
        scratch = self._own(like)
        if scratch.holds is not self:
            scratch.read(self)
        return scratch.factors[self._places[joint]]

    def begin_backward(self, like: Tensor) -> None:
        """Backward is at the last block: from now on gradients gather, until it is done with the first."""
        self._own(like).gathers = self

    def gradients(self, joint: Joint, like: Tensor) -> Views:
        """Where the gradients of the factors of a joint are written to."""
        scratch = self._own(like)
        if scratch.gathers is not self:
            raise RuntimeError(
                "Backward came to a part of the UNet that another was not done with."
            )
        return scratch.gradients[self._places[joint]]

    def end_backward(self, like: Tensor) -> None:
        """All gradients are there: add them to those of the parameters."""
        scratch = self._own(like)
        scratch.gathers = None
        if self._stretch.parameters:
            self._stretch.add_gradients(scratch.all_gradients)

    def _own(self, like: Tensor) -> _Scratch:
        scratch = self._scratch
        if scratch is None or scratch.dtype != like.dtype or scratch.device != like.device:
            key = self._shape, like.dtype, like.device
            if key not in self._scratches:
                with torch.inference_mode(
                    False
                ):  # a preview may come first, and training writes there
                    self._scratches[key] = _Scratch(self._blocks, self._contexts, like)
            scratch = self._scratch = self._scratches[key]
        return scratch

    def read_into(self, buffer: Tensor) -> None:
        """Copy all factors there, [size]."""
        if self._stretch.parameters:
            self._stretch.read(buffer)


class _Scratch:
    """Room for the factors of blocks and for their gradients."""

    def __init__(
        self, blocks: Sequence[Sequence[Joint]], contexts: Collection[Joint], like: Tensor
    ) -> None:
        self.dtype, self.device = like.dtype, like.device
        sizes = [sum(p.numel() for p in _in_order(block, contexts)) for block in blocks]
        buffers = [like.new_empty(sum(sizes)) for _ in range(2)]
        self._values, self.all_gradients = buffers
        self.factors, self.gradients = (
            [
                view
                for block, part in zip(blocks, buffer.split(sizes), strict=True)
                for view in _views(part, block, contexts)
            ]
            for buffer in buffers
        )
        self.holds: Factors | None = None
        """Whose factors these are."""
        self.gathers: Factors | None = None
        """Whose gradients these will be."""

    def read(self, factors: Factors) -> None:
        factors.read_into(self._values)
        self.holds = factors


def _in_order(joints: Sequence[Joint], contexts: Collection[Joint]) -> list[nn.Parameter]:
    """The factors of a block as trainer/network/layout.py lays them out."""
    ups = [adapter.up for joint in joints for adapter in joint.adapters]
    downs = [a.down for joint in joints if joint not in contexts for a in joint.adapters]
    return ups + downs


def _views(buffer: Tensor, joints: Sequence[Joint], contexts: Collection[Joint]) -> list[Views]:
    sizes = [joint.rank * joint.width for joint in joints]
    sizes += [0 if joint in contexts else joint.rank * joint.inner for joint in joints]
    parts, found = torch.split(buffer, sizes), []
    for joint, ups, downs in zip(joints, parts, parts[len(joints) :], strict=False):
        ranks = [own.stop - own.start for _, own, _ in joint.places]
        each = torch.split(ups, [joint.width * rank for rank in ranks]) if ranks else ()
        alike = (joint.width, -1) if joint.is_single else (len(joint.modules), joint.width, -1)
        down, up = downs.view(-1, joint.inner), ups.view(alike) if joint.is_alike else ups[None]
        each = [up.view(joint.width, -1) for up in each]
        found.append(Views(down, each, up, down.t(), up.transpose(-1, -2)))
    return found
