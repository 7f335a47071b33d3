"""Loss scaling for a model that computes in float16, whose small gradients would vanish otherwise.

The rule and the state are those of PyTorch's GradScaler; but the scale is known on the host, so that
nothing waits for the device to tell it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

START, GROWTH, BACKOFF, INTERVAL = 65536.0, 2.0, 0.5, 2000
HIGHEST = 2.0**127
"""The last power of two in float32."""


class LossScale:
    """The multiplier of the loss: halved when gradients overflow, doubled after 2000 good steps."""

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        self.is_enabled = enabled
        self.value = START if enabled else 1.0
        self._good = 0
        self._there = torch.tensor(self.value, device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss times the scale, which is read on the device when the product is computed."""
        return loss * self._there if self.is_enabled else loss

    def record(self, *, finite: bool) -> None:
        """What became of a step's gradients."""
        if not self.is_enabled:
            return
        self._good = self._good + 1 if finite else 0
        if not finite:
            self._set(self.value * BACKOFF)
        elif self._good == INTERVAL:
            self._good = 0
            self._set(min(self.value * GROWTH, HIGHEST))

    def state(self) -> dict[str, Any]:
        """For `load`; empty where nothing is scaled."""
        if not self.is_enabled:
            return {}
        return {
            "scale": self.value,
            "growth_factor": GROWTH,
            "backoff_factor": BACKOFF,
            "growth_interval": INTERVAL,
            "_growth_tracker": self._good,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`, if there is one."""
        if self.is_enabled and state:
            self._good = state["_growth_tracker"]
            self._set(state["scale"])

    def _set(self, value: float) -> None:
        self.value = value
        self._there.fill_(value)
