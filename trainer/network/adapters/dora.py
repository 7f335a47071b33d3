"""DoRA (Liu et al. 2024): each column of the changed weight has a length of its own, which is trained.

The weight is m * (W + change) / |W + change|, m and the norms for each input channel. Columns are scaled
by scaling the inputs, so the frozen weight itself is needed for its norms only, and those count as
constant in backward, as the paper proposes. LyCORIS writes it as `dora_scale` (its wd_on_output=False).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...frozen.weights import Weights
from ..dropout import Dropout
from ..unet_targets import Target
from .base import Adapter, Additive, Forward, parameter
from .rebuilt import recomputed

SCALE = "dora_scale"
EPSILON = torch.finfo(torch.float32).eps


class Dora(Adapter):
    """Another adapter with lengths: dora_scale [1, in(, 1, 1)]."""

    steady = (SCALE,)  # towards 0 it would shrink the frozen weight

    def __init__(self, target: Target, inner: Additive) -> None:
        super().__init__(target)
        self.inner = inner
        self.ups = inner.ups
        self.alpha = inner.alpha
        shape = [target.shape[1] if axis == 1 else 1 for axis in range(len(target.shape))]
        self.magnitude = parameter(tuple(shape), next(inner.parameters()).device)

    def initialise(self, seed: int) -> None:
        self.inner.initialise(seed)

    @torch.no_grad()
    def measure(self, module: nn.Module, weights: Weights) -> None:
        """The lengths that are trained begin as those of the columns."""
        norms = self._norms(module, weights, torch.float32, self.magnitude.device)
        self.magnitude.copy_(norms)

    def factors(self) -> dict[str, nn.Parameter]:
        return {**self.inner.factors(), SCALE: self.magnitude}

    def limit_norm(self, most: float) -> Tensor:
        return self.inner.limit_norm(most)

    def drop(self, dropout: Dropout | None) -> None:
        super().drop(dropout)
        self.inner.drop(dropout)

    def around(self, frozen: Forward, module: nn.Module, weights: Weights) -> Forward:
        def forward(x: Tensor) -> Tensor:
            norms = self._norms(module, weights, x.dtype, x.device)

            def both(x: Tensor) -> tuple[Tensor, Tensor]:
                scaled = self._scaled(x, norms)
                return scaled, self.inner.plain(scaled)

            again = self.with_dropout_of_now(both)
            scaled, added = recomputed(again, x, self.factors().values())
            return frozen(scaled) + added

        return forward

    def _scaled(self, x: Tensor, norms: Tensor) -> Tensor:
        """The input with its channels scaled, except for samples that go without this adapter."""
        more = x * (self.magnitude / norms - 1).to(x.dtype)
        if self.dropout is not None:
            more = self.dropout.output(self.key, more)
        return x + more

    @torch.no_grad()
    def _norms(
        self, module: nn.Module, weights: Weights, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """The lengths of the columns of the changed weight, float32 [1, in(, 1, 1)]."""
        changed = self.inner.change()
        with weights.borrow(module, dtype, device) as (weight, _):
            changed += weight
        axes = [axis for axis in range(changed.dim()) if axis != 1]
        return torch.linalg.vector_norm(changed, dim=axes, keepdim=True).clamp(min=EPSILON)
