"""LoRA (Hu et al. 2021): up(down(x)) * alpha / rank, as kohya's `networks.lora`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..unet_targets import Target
from .base import Additive, draw_uniform, parameter


class Lora(Additive):
    """down [r, in(, k, k)], up [out, r(, 1, 1)]."""

    ups = ("lora_up.weight",)

    def __init__(self, target: Target, device: torch.device) -> None:
        super().__init__(target)
        width, *inner = self.shape
        self.down = parameter((target.rank, *inner), device, blank=True)
        ones = [1] * (len(inner) - 1)
        self.up = parameter((width, target.rank, *ones), device, blank=True)

    def factors(self) -> dict[str, nn.Parameter]:
        return {"lora_down.weight": self.down, "lora_up.weight": self.up}

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        self.up.zero_()
        draw_uniform(self.down, seed, "lora_down", self.key)

    def plain(self, x: Tensor) -> Tensor:
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        is_conv = bool(self.geometry)
        hidden = F.conv2d(x, down, None, **self.geometry) if is_conv else F.linear(x, down)
        if self.dropout is not None:
            hidden = self.dropout.hidden(self.key, hidden)
        output = (F.conv2d(hidden, up) if is_conv else F.linear(hidden, up)) * self.scale
        return output if self.dropout is None else self.dropout.output(self.key, output)

    def change(self) -> Tensor:
        return ((self.up.flatten(1) * self.scale) @ self.down.flatten(1)).view(self.shape)

    def norm(self) -> Tensor:
        """Found without making the product of the factors. Source: kohya's scale_weight_norms."""
        down, up = self.down.flatten(1), self.up.flatten(1)
        squared = ((up.T @ up) * (down @ down.T)).sum()
        return squared.clamp(min=0.0).sqrt() * abs(self.scale)
