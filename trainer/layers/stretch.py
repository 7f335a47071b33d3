"""Parameters as one long vector: read together, their gradients added together, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..device.neighbours import vectors


class Stretch:
    """Some parameters in an order of ours.

    One operation does what is asked of all those that are neighbours in this order where they lie
    (trainer/network/layout.py sees to it); they may be moved at any time.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.size = sum(parameter.numel() for parameter in parameters)
        self._values, self._gradients = _Runs(), _Runs()

    def read(self, into: Tensor) -> None:
        """Copy the values to ``into``, [size] of any dtype."""
        for run, place in self._values.of(self.parameters):
            into[place].copy_(run)

    def add_gradients(self, gradients: Tensor) -> None:
        """Add these, [size] of any dtype, to ``grad`` of the parameters, as autograd would."""
        are_new = any(parameter.grad is None for parameter in self.parameters)
        if are_new:
            self._begin()
        found = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        for run, place in self._gradients.of(found):
            run.add_(gradients[place])
        if are_new:  # the optimiser may copy them elsewhere: they must not live on here
            self._gradients = _Runs()

    def _begin(self) -> None:
        """Give those that have no gradient one of zeros."""
        like = self.parameters[0]
        zeros = torch.zeros(self.size, dtype=like.dtype, device=like.device)
        parts = zeros.split([parameter.numel() for parameter in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            if parameter.grad is None:
                parameter.grad = part.view_as(parameter)


class _Runs:
    """Tensors as vectors, neighbours as one: found once, and again when something has moved."""

    def __init__(self) -> None:
        self._addresses: list[int] = []
        self._runs: list[tuple[Tensor, slice]] = []

    def of(self, tensors: Sequence[Tensor]) -> list[tuple[Tensor, slice]]:
        """The vectors, and which part of all numbers each is."""
        addresses = [tensor.data_ptr() for tensor in tensors]
        if addresses != self._addresses:
            self._addresses, self._runs = addresses, vectors(tensors)
        return self._runs
