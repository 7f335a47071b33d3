"""LoRA adapters (Hu et al. 2021): y = frozen(x) + up(down(x)) * alpha / rank, as kohya's `networks.lora`."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..dropout import Dropout
from ..rng import generator
from ..targets import Target


class Adapter(nn.Module):
    """down [r, in(, k, k)], up [out, r(, 1, 1)]: float32 parameters, used in the input's dtype."""

    def __init__(self, target: Target, device: torch.device) -> None:
        super().__init__()
        layer, rank = target.module, target.rank
        self._geometry: tuple[Any, Any, Any] | None = None
        if isinstance(layer, nn.Conv2d):
            down = (rank, layer.in_channels // layer.groups, *layer.kernel_size)
            up = (layer.out_channels, rank, 1, 1)
            self._geometry = layer.stride, layer.padding, layer.dilation
        else:
            down = (rank, int(layer.in_features))  # type: ignore[arg-type]
            up = (int(layer.out_features), rank)  # type: ignore[arg-type]
        self.down = nn.Parameter(torch.empty(down, dtype=torch.float32, device=device))
        self.up = nn.Parameter(torch.zeros(up, dtype=torch.float32, device=device))
        self.key = target.key
        self.alpha = target.alpha
        self.scale = target.alpha / rank
        self.dropout: Dropout | None = None

    def forward(self, x: Tensor) -> Tensor:
        """What the adapter adds for the input of its layer."""
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        geometry = self._geometry
        hidden = F.linear(x, down) if geometry is None else F.conv2d(x, down, None, *geometry)
        if self.dropout is not None:
            hidden = self.dropout.hidden(self.key, hidden)
        output = F.linear(hidden, up) if geometry is None else F.conv2d(hidden, up)
        output = output * self.scale
        return output if self.dropout is None else self.dropout.output(self.key, output)

    def limit_norm(self, most: float) -> Tensor:
        """Shrink both factors alike where the change of weights is longer than ``most``; its length before.

        The length, a scalar on the adapter's device, is the Frobenius norm of up @ down * scale, found
        without making that product. Source: kohya's scale_weight_norms.
        """
        down, up = self.down.flatten(1), self.up.flatten(1)
        squared = ((up.T @ up) * (down @ down.T)).sum()
        norm = squared.clamp(min=0.0).sqrt() * abs(self.scale)
        factor = (most / norm).clamp(max=1.0).sqrt()  # norm 0: infinite, so 1
        self.down.mul_(factor)
        self.up.mul_(factor)
        return norm


def initialise(down: nn.Parameter, seed: int, key: str) -> None:
    """Kaiming uniform with a = sqrt(5), as kohya: uniform in +-1/sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(down[0].numel())
    values = torch.rand(down.shape, generator=generator(seed, "lora_down", key))
    with torch.no_grad():
        down.copy_((values * 2 - 1) * bound)
