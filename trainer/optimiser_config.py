"""What can be set about the optimiser and the learning rate; the nodes read the defaults from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .checked import Problems, Settings
from .optimisers import (
    ADAMW_ALIKE,
    LOW_RATE,
    OWN_RATE,
    SCHEDULE_FREE,
    OptimiserType,
    check_arguments,
    is_relative,
    parse_arguments,
)

LrSchedule = Literal[
    "constant",
    "cosine",
    "linear",
    "cosine_with_restarts",
    "polynomial",
    "cosine_with_min_lr",
    "inverse_sqrt",
    "warmup_stable_decay",
]

HORIZON_FREE: tuple[LrSchedule, ...] = ("constant", "inverse_sqrt")
"""Learning-rate schedules whose value at step k does not depend on the number of steps."""


@dataclass(frozen=True)
class OptimiserConfig(Settings):
    """The optimiser and its learning rate over the steps (kohya's words and defaults, the recipe's lr).

    beta1, beta2, epsilon and weight_decay are AdamW's and its 8-bit and paged kinds'; other kinds take
    what they have from ``arguments``, which go before in any case.
    """

    learning_rate: float = 3e-5
    schedule: LrSchedule = "constant"
    warmup: float = 0.0
    """Optimiser steps when 1 or more, a fraction of all steps when below 1 (kohya)."""
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    """The gradient's norm over all adapters is clipped to this; 0 turns clipping off."""
    cycles: int = 1
    power: float = 1.0
    min_lr_ratio: float = 0.0
    decay_steps: float = 0.0
    """Length of the decay of warmup_stable_decay: steps, or a fraction when below 1."""
    type: OptimiserType = "AdamW"
    arguments: tuple[str, ...] = ()
    """kohya's optimizer_args: `key=value` with literals."""
    ema_decay: float = 0.0
    """Of the moving average of the adapters that is then used in their stead; 0 turns it off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = Problems()
        problems.one_of("schedule", self.schedule, LrSchedule)
        problems.need(
            0 < self.learning_rate <= 10,
            f"learning_rate is {self.learning_rate}; it must be above 0 and at most 10",
        )
        problems.need(self.warmup >= 0, f"warmup is {self.warmup}; it must be 0 or more")
        problems.need(
            0 <= self.beta1 < 1 and 0 <= self.beta2 < 1,
            f"betas are {self.beta1}, {self.beta2}; each must lie in [0, 1)",
        )
        problems.need(self.epsilon > 0, f"epsilon is {self.epsilon}; it must be above 0")
        problems.need(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; 0 or more")
        problems.need(self.max_grad_norm >= 0, f"max_grad_norm is {self.max_grad_norm}; 0 or more")
        problems.need(self.cycles >= 1, f"cycles is {self.cycles}; it must be 1 or more")
        problems.need(
            0 <= self.min_lr_ratio <= 1, f"min_lr_ratio is {self.min_lr_ratio}; it must lie in 0..1"
        )
        problems.one_of("type", self.type, OptimiserType)
        problems.need(
            0 <= self.ema_decay < 1, f"ema_decay is {self.ema_decay}; it must lie in [0, 1)"
        )
        problems.need(
            not self.ema_decay or self.type not in SCHEDULE_FREE,
            f"{self.type} averages the adapters itself: set ema_decay to 0",
        )
        if not problems:
            problems += check_arguments(self.type, self.arguments)
        problems.finish("Optimiser settings")

    def notes(self) -> list[str]:
        """What is allowed but hardly meant, as sentences."""
        if self.type in OWN_RATE and self.learning_rate <= LOW_RATE:
            return [
                f"{self.type} finds the learning rate itself and takes yours, {self.learning_rate:g}, as "
                "a factor: it will hardly learn. Set it to 1."
            ]
        return []

    def constructor_arguments(self) -> dict[str, Any]:
        """What the optimiser's class is called with beside the parameters and the learning rate."""
        given = parse_arguments(self.arguments)
        if self.type not in ADAMW_ALIKE:
            return given
        own = {
            "betas": (self.beta1, self.beta2),
            "eps": self.epsilon,
            "weight_decay": self.weight_decay,
        }
        return {**own, **given}

    @property
    def finds_rate(self) -> bool:
        """Whether the optimiser finds the learning rate itself, one for all parameters."""
        return self.type in OWN_RATE or is_relative(self.type, self.constructor_arguments())

    @property
    def needs_horizon(self) -> bool:
        """Whether the learning rate of a step depends on the number of steps."""
        return self.schedule not in HORIZON_FREE or 0 < self.warmup < 1
