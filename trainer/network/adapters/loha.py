"""LoHa (Hyeon-Woo et al. 2022): the change is (w1_a @ w1_b) * (w2_a @ w2_b) * alpha / rank."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..unet_targets import Target
from .base import draw_normal, parameter
from .rebuilt import Rebuilt, lycoris

SPREADS = {"hada_w1_a": 0.1, "hada_w1_b": 1.0, "hada_w2_b": 1.0}
"""Standard deviations of the first factors, as in LyCORIS; the fourth is 0."""


class Loha(Rebuilt):
    """hada_w1_a and hada_w2_a [out, r], hada_w1_b and hada_w2_b [r, in * k * k]."""

    ups = ("hada_w2_a",)  # kohya's choice, in networks/network_base.py

    def __init__(self, target: Target, device: torch.device) -> None:
        super().__init__(target)
        self._rebuild = lycoris("loha").diff_weight
        width = self.shape[0]
        inner = torch.Size(self.shape[1:]).numel()
        for half in ("hada_w1", "hada_w2"):
            self.register_parameter(f"{half}_a", parameter((width, target.rank), device))
            self.register_parameter(f"{half}_b", parameter((target.rank, inner), device))

    def initialise(self, seed: int) -> None:
        for name, std in SPREADS.items():
            draw_normal(self.get_parameter(name), seed, name, self.key, std)

    def change(self) -> Tensor:
        one, two = (self.hada_w1_b, self.hada_w1_a), (self.hada_w2_b, self.hada_w2_a)
        scale = torch.tensor(self.scale)
        rebuilt = self._rebuild(*one, *two, None, None, gamma=scale, backend="torch")
        return rebuilt.view(self.shape)

    def plain(self, x: Tensor) -> Tensor:
        change = self.change().to(x.dtype)
        if self.geometry:
            return self.thinned(F.conv2d(x, change, None, **self.geometry))
        return self.thinned(F.linear(x, change))
