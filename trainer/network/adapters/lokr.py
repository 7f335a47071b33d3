"""LoKr (Yeh et al. 2024): the change is the Kronecker product of w1 and w2, and w2 of low rank."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..unet_targets import Target
from .base import draw_uniform, parameter
from .rebuilt import Rebuilt, lycoris

_LARGEST_ALPHA = 2.0**15
"""No reader looks at the alpha of whole matrices, and fp16 holds this one."""


class Lokr(Rebuilt):
    """lokr_w1 [a, c]; lokr_w2_a [b, r] and lokr_w2_b [r, d * k * k], or lokr_w2 [b, d(, k, k)] itself.

    out = a * b and in = c * d, with a and c next to the factor that was asked for. w2 stays whole where
    the rank would not make it smaller, or where it is asked to (LyCORIS: full_matrix); as in LyCORIS and
    its readers nothing is scaled then.
    """

    ups = ("lokr_w1",)  # kohya's choice, in networks/network_base.py

    def __init__(self, target: Target, device: torch.device) -> None:
        super().__init__(target)
        self._maths = lycoris("lokr")
        width, depth, *self._kernel = self.shape
        a, b = self._maths.factorization(width, target.factor)
        c, d = self._maths.factorization(depth, target.factor)
        self.register_parameter("lokr_w1", parameter((a, c), device))
        if target.whole or target.rank >= max(b, d) / 2:
            self.register_parameter("lokr_w2", parameter((b, d, *self._kernel), device))
            self.alpha, self.scale = min(float(target.rank), _LARGEST_ALPHA), 1.0
        else:
            inner = d * torch.Size(self._kernel).numel()
            self.register_parameter("lokr_w2_a", parameter((b, target.rank), device))
            self.register_parameter("lokr_w2_b", parameter((target.rank, inner), device))

    def initialise(self, seed: int) -> None:
        for name in self.factors().keys() & {"lokr_w1", "lokr_w2_a"}:
            draw_uniform(self.get_parameter(name), seed, name, self.key)

    def change(self) -> Tensor:
        factors = self._factors(torch.float32)
        return self._maths.kron_weight(*factors, scale=self.scale, backend="torch").view(self.shape)

    def plain(self, x: Tensor) -> Tensor:
        factors = self._factors(x.dtype)
        return self.thinned(
            self._maths.kron_bypass(
                x, *factors, scale=self.scale, extra_args=self.geometry, backend="torch"
            )
        )

    def _factors(self, dtype: torch.dtype) -> tuple[Any, ...]:
        """w1, its two factors, w2, its two factors: None for those that are not there."""
        own = {name: factor.to(dtype) for name, factor in self.factors().items()}
        low = own.get("lokr_w2_b")
        if low is not None:
            low = low.view(low.shape[0], -1, *self._kernel)
        return own["lokr_w1"], None, None, own.get("lokr_w2"), own.get("lokr_w2_a"), low
