"""SDXL at its full depth and hardly any width: nothing to compute, so a step takes what the host takes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import torch
from torch import nn

from . import reduced_sdxl
from .scene import Scene

WIDTH, RANK, GROUPS = 8, 4, 4


class ThinScene(Scene):
    """Every layer of the real SDXL on the CPU, with levels of 8, 16 and 32 channels and heads of 8.

    The frozen weights are float64 and the factors float32: so casts are kernels as on a card, while
    a CPU's 16-bit products would have a cost of their own. Not on the meta device, where many
    operations are Python.
    """

    def __init__(self) -> None:
        super().__init__(False, torch.device("cpu"), torch.float64, RANK, float(RANK))

    @property
    def side(self) -> int:
        return 8

    @property
    def as_on_card(self) -> bool:
        return True

    @property
    def tokens(self) -> int:
        return 8

    @property
    def unet_config(self) -> dict[str, Any]:
        sizes = {
            "model_channels": WIDTH,
            "num_head_channels": WIDTH,
            "context_dim": 8 * WIDTH,
            "adm_in_channels": reduced_sdxl.SIZES + WIDTH,
        }
        return super().unet_config | sizes

    def building(self) -> AbstractContextManager[Any]:
        """Norms of 32 groups, as the classes ask for, need more channels."""
        own = nn.GroupNorm.__init__

        def init(norm: nn.GroupNorm, num_groups: int, num_channels: int, **others: Any) -> None:
            own(norm, min(num_groups, GROUPS), num_channels, **others)

        return mock.patch.object(nn.GroupNorm, "__init__", init)
