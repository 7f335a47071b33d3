"""One optimiser step: gradients in, clipped, checked, applied."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from .config import OptimiserConfig


@dataclass(frozen=True)
class StepOutcome:
    """What a step did. grad_norm: the norm before clipping; applied: False when it was skipped."""

    grad_norm: float
    applied: bool
    overflow: bool = False
    """The gradients overflowed only because of float16 loss scaling: the scale was lowered."""


class Optimiser:
    """AdamW over the adapters' float32 parameters, with loss scaling when the model runs in fp16."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        config: OptimiserConfig,
        *,
        device: torch.device | None = None,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        self._parameters = parameters
        self._config = config
        self._adamw = torch.optim.AdamW(
            parameters,
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
        )
        self._scaler = GradScaler(
            (device or torch.device("cpu")).type, enabled=compute_dtype == torch.float16
        )

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of a (partial) loss."""
        self._scaler.scale(loss).backward()

    def step(self, learning_rate: float) -> StepOutcome:
        """Apply the accumulated gradients and clear them; non-finite ones are dropped instead."""
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        self._scaler.unscale_(self._adamw)
        limit = self._config.max_grad_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(self._parameters, limit))
        finite = math.isfinite(norm)
        scale = self._scaler.get_scale()
        if finite or self._scaler.is_enabled():
            self._scaler.step(self._adamw)
            self._scaler.update()
        self.clear()
        return StepOutcome(norm, applied=finite, overflow=not finite and scale > 1.0)

    def skip(self) -> StepOutcome:
        """Drop the accumulated gradients of a loss that was not finite; they may be finite (l1)."""
        self.clear()
        return StepOutcome(math.nan, applied=False)

    def clear(self) -> None:
        """Drop all gradients."""
        self._adamw.zero_grad(set_to_none=True)
