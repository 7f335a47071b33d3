"""Each parameter is stepped as soon as backward is done with it, and its gradient is gone: "fused backward".

So only one gradient is there at a time. It is kohya's `fused_backward_pass` (`library/adafactor_fused.py`): a
gradient is clipped by its own norm, since that of all of them is known when they are gone. One that is not
finite counts as zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .flat import Make, Single


class AtOnce(Single):
    """An optimiser that steps within backward. Rates are set before (`Optimiser.begin`)."""

    def __init__(self, make: Make, groups: list[list[nn.Parameter]], limit: float) -> None:
        """``limit``: of the norm of each gradient."""
        super().__init__(make, groups)
        self._limit = limit
        self._squares: list[Tensor] = []
        for number, group in enumerate(groups):
            for parameter in group:
                parameter.register_post_accumulate_grad_hook(
                    lambda own, number=number: self._apply(own, number)
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

    @torch.no_grad()
    def _apply(self, parameter: nn.Parameter, number: int) -> None:
        """Step one parameter of a group; the optimiser sees no other meanwhile."""
        gradient = parameter.grad
        assert gradient is not None
        norm = torch.linalg.vector_norm(gradient)
        self._squares.append(norm.square())
        gradient.mul_((self._limit / (norm + 1e-6)).clamp(max=1.0))  # as torch's own clipping
        gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        groups: list[dict[str, Any]] = self.inner.param_groups
        everything = [group["params"] for group in groups]
        try:
            for place, group in enumerate(groups):
                group["params"] = [parameter] if place == number else []
            self.inner.step()
        finally:
            for group, own in zip(groups, everything, strict=True):
                group["params"] = own
        parameter.grad = None
