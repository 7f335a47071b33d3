"""The exponential moving average of the adapters: smoother than where single steps leave them.

average <- d * average + (1 - d) * parameters after the k-th step that was applied, with
d = min(decay, k / (9 + k)): as the moving average of TensorFlow warms up, so that the adapters'
beginning is forgotten soon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..device.transfer import fetch


class MovingAverage:
    """An average of each parameter, float32 on the parameter's device, which starts where that is now."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self._taken = 0
        self._values = [parameter.detach().to(torch.float32, copy=True) for parameter in parameters]

    @torch.no_grad()
    def take(self) -> None:
        """Take in the parameters as a step has left them."""
        self._taken += 1
        decay = min(self._decay, self._taken / (9 + self._taken))
        average, pairs = (
            get_ema_multi_avg_fn(decay),
            zip(self._values, self._parameters, strict=True),
        )
        if all(parameter.dtype == torch.float32 for parameter in self._parameters):
            average(self._values, list(self._parameters), self._taken)
            return
        for value, parameter in pairs:  # one by one: each is copied to float32
            average([value], [parameter.float()], self._taken)

    @torch.no_grad()
    def put(self) -> None:
        """Give the parameters their averages."""
        for value, parameter in zip(self._values, self._parameters, strict=True):
            parameter.copy_(value)

    def state(self, *, pins: bool = False) -> dict[str, Any]:
        """How many steps were taken in and what came of them, on the CPU, for `load`."""
        return {
            "taken": self._taken,
            "values": [value.clone() for value in fetch(self._values, pins=pins)],
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`, of an average of the same parameters."""
        self._taken = state["taken"]
        values: list[Tensor] = state["values"]
        for value, stored in zip(self._values, values, strict=True):
            value.copy_(stored)
