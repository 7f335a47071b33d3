"""Parameters that are stepped one at a time: after backward, or as soon as it is done with each ("fused backward").

Within backward only one gradient is there at a time. It is kohya's `fused_backward_pass`
(`library/adafactor_fused.py`): a gradient is clipped by its own norm, since that of all of them is known when
they are gone. One that is not finite counts as zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .flat import Make, Single
from .rounding import Rounding


class OneByOne(Single):
    """An optimiser that steps one parameter at a time, those in bf16 by way of float32 (`Rounding`)."""

    def __init__(self, make: Make, groups: list[list[nn.Parameter]], rounding: Rounding) -> None:
        super().__init__(make, groups)
        self._rounding = rounding
        self._groups_of = [place for place, group in enumerate(groups) for _ in group]
        self._factors: tuple[float | Tensor, ...] = ()

    def clip(self, scale: float, limit: float) -> Tensor:
        """The norm of all gradients over ``scale``; each is divided and clipped when it is in float32."""
        found = [p.grad for p in self._parameters if p.grad is not None]
        if not found:
            return torch.zeros((), device=self._parameters[0].device)
        norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in found]
        norm = torch.linalg.vector_norm(torch.stack(norms)) / scale
        self._factors = 1.0 / scale, _share(norm, limit)
        return norm

    def step(self) -> None:
        for number, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                self._step_alone(number, self._shrink)

    def _shrink(self, gradient: Tensor) -> None:
        for factor in self._factors:
            gradient.mul_(factor)

    @torch.no_grad()
    def _step_alone(self, number: int, prepare: Callable[[Tensor], None]) -> None:
        """Step the parameter of this number; the optimiser sees no other meanwhile."""
        parameter = self._parameters[number]
        groups: list[dict[str, Any]] = self.inner.param_groups
        everything = [group["params"] for group in groups]
        with self._rounding.widened(parameter, number):
            assert parameter.grad is not None
            prepare(parameter.grad)
            try:
                for place, group in enumerate(groups):
                    group["params"] = [parameter] if place == self._groups_of[number] else []
                self.inner.step()
            finally:
                for group, own in zip(groups, everything, strict=True):
                    group["params"] = own
        parameter.grad = None


class AtOnce(OneByOne):
    """An optimiser that steps within backward. Rates are set before (`Optimiser.begin`)."""

    def __init__(
        self, make: Make, groups: list[list[nn.Parameter]], rounding: Rounding, limit: float
    ) -> None:
        """``limit``: of the norm of each gradient."""
        super().__init__(make, groups, rounding)
        self._limit = limit
        self._squares: list[Tensor] = []
        for number, parameter in enumerate(self._parameters):
            parameter.register_post_accumulate_grad_hook(
                lambda _, number=number: self._step_alone(number, self._clip_alone)
            )

    def clip(self, scale: float, limit: float) -> Tensor:
        """The norm of all gradients of the step, before each was clipped; nothing is left to clip."""
        if not self._squares:
            return torch.zeros((), device=self._parameters[0].device)
        return torch.stack(self._squares).sum().sqrt()

    def step(self) -> None:
        """Backward has done it."""

    def clear(self) -> None:
        super().clear()
        self._squares = []

    def _clip_alone(self, gradient: Tensor) -> None:
        norm = torch.linalg.vector_norm(gradient)
        self._squares.append(norm.square())
        gradient.mul_(_share(norm, self._limit))
        gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)


def _share(norm: Tensor, limit: float) -> Tensor:
    """What a gradient of this norm is multiplied by, as in torch's own clipping."""
    return (limit / (norm + 1e-6)).clamp(max=1.0)
