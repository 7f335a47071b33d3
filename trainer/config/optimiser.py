"""What can be set about the optimiser and the learning rate; the nodes read the defaults from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ...base.config import Config, Problems
from .optimiser_arguments import check_arguments, parse_arguments
from .optimiser_factory import try_arguments
from .optimisers import (
    ADAMW_ALIKE,
    LOW_RATE,
    ONE_RATE,
    OWN_RATE,
    SCHEDULE_FREE,
    USUAL_RATES,
    OptimiserType,
    is_relative,
)
from .piecewise import parse_step_rules

LrSchedule = Literal[
    "constant",
    "cosine",
    "linear",
    "cosine_with_restarts",
    "polynomial",
    "cosine_with_min_lr",
    "inverse_sqrt",
    "warmup_stable_decay",
    "piecewise_constant",
]
Shape = Literal["linear", "cosine", "1-sqrt"]

HORIZON_FREE: tuple[LrSchedule, ...] = ("constant", "inverse_sqrt")
"""Learning-rate schedules of which only a warm-up given as a fraction depends on the number of steps."""


@dataclass(frozen=True)
class OptimiserConfig(Config):
    """The optimiser and its learning rate over the steps (kohya's words and defaults, the recipe's lr).

    beta1, beta2, epsilon and weight_decay are AdamW's and its 8-bit and paged kinds'; other kinds take
    what they have from ``arguments``, which override these in any case.
    """

    title = "Optimiser settings"

    learning_rate: float = 3e-5
    """The learning rate of the UNet's adapters at its full height is above 0 and at most 10."""
    schedule: LrSchedule = "constant"
    """The learning rate changes over the steps in this way (kohya: lr_scheduler)."""
    warmup: float = 0.0
    """The learning rate rises from 0 for so many optimiser steps, or for this fraction of all steps when
    below 1 (kohya: lr_warmup_steps)."""
    beta1: float = 0.9
    """AdamW's average of the gradient decays by this factor a step, from 0 to below 1."""
    beta2: float = 0.999
    """AdamW's average of the squared gradient decays by this factor a step, from 0 to below 1."""
    epsilon: float = 1e-8
    """AdamW adds this number above 0 to the root that it divides by."""
    weight_decay: float = 0.01
    """AdamW takes this share, 0 or more, of each number off in a step, times the learning rate."""
    max_grad_norm: float = 1.0
    """The gradient's norm over all adapters is clipped to this, 0 or more; 0 turns clipping off."""
    cycles: int = 1
    """cosine_with_restarts has so many cycles, 1 or more, and the cosines of cosine_with_min_lr and
    warmup_stable_decay as many half-waves (kohya: lr_scheduler_num_cycles)."""
    power: float = 1.0
    """The polynomial schedule falls with this power of what is left of the run (kohya:
    lr_scheduler_power)."""
    min_lr_ratio: float = 0.0
    """The schedules with a floor end at this share of the learning rate, 0 to 1."""
    decay_steps: float = 0.0
    """The decay of warmup_stable_decay takes so many optimiser steps, or this fraction of all steps when
    below 1."""
    type: OptimiserType = "AdamW"
    """The adapters are trained by this optimiser (kohya: optimizer_type)."""
    arguments: tuple[str, ...] = ()
    """The optimiser gets these further arguments, each `key=value` with a literal (kohya:
    optimizer_args)."""
    ema_decay: float = 0.0
    """A moving average of the adapters that decays by this factor a step, from 0 to below 1, is used in
    their stead; 0 turns it off."""
    timescale: int = 0
    """The inverse_sqrt schedule has this timescale in optimiser steps, 0 or more; 0 takes the warm-up, or
    10,000 without one."""
    step_rules: str = ""
    """The pieces of piecewise_constant are written as factor:step for each and the last factor alone,
    such as `1:1000,0.1:2000,0.01`."""
    end_rate: float = 1e-7
    """The polynomial schedule ends at this learning rate, 0 or more and below ``learning_rate`` (kohya:
    lr_end)."""
    warmup_shape: Shape = "linear"
    """The warm-up of warmup_stable_decay rises along this curve (kohya: warmup_type)."""
    decay_shape: Shape = "cosine"
    """The decay of warmup_stable_decay falls along this curve (kohya: decay_type)."""
    text_encoder_1_rate: float = 0.0
    """CLIP-L learns at this rate, up to 10 (kohya's first text_encoder_lr); at 0 it is not trained."""
    text_encoder_2_rate: float = 0.0
    """CLIP-G learns at this rate, up to 10 (kohya's second text_encoder_lr); at 0 it is not trained."""
    train_unet: bool = True
    """The UNet is trained; off needs a rate for a text encoder (kohya: network_train_text_encoder_only)."""

    def check(self, problems: Problems) -> None:
        self._check_schedule(problems)
        problems.need(
            0 <= self.beta1 < 1 and 0 <= self.beta2 < 1,
            f"betas are {self.beta1}, {self.beta2}; each must lie in [0, 1)",
        )
        problems.need(self.epsilon > 0, f"epsilon is {self.epsilon}; it must be above 0")
        problems.need(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; 0 or more")
        problems.need(self.max_grad_norm >= 0, f"max_grad_norm is {self.max_grad_norm}; 0 or more")
        for name in ("text_encoder_1_rate", "text_encoder_2_rate"):
            value = getattr(self, name)
            problems.need(0 <= value <= 10, f"{name} is {value}; it must lie in 0..10, 0 for not")
        problems.need(
            self.train_unet or self.trains_text,
            "train_unet is off and both text encoder rates are 0: nothing would learn",
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
        if not problems and self.arguments:
            given = parse_arguments(self.arguments)
            problems += try_arguments(self.type, given, self._own_arguments(), self.learning_rate)

    def _check_schedule(self, problems: Problems) -> None:
        """What is wrong with the learning rate over the steps."""
        problems.one_of("schedule", self.schedule, LrSchedule)
        problems.need(
            0 < self.learning_rate <= 10,
            f"learning_rate is {self.learning_rate}; it must be above 0 and at most 10",
        )
        problems.need(self.warmup >= 0, f"warmup is {self.warmup}; it must be 0 or more")
        problems.need(self.cycles >= 1, f"cycles is {self.cycles}; it must be 1 or more")
        problems.need(
            0 <= self.min_lr_ratio <= 1, f"min_lr_ratio is {self.min_lr_ratio}; it must lie in 0..1"
        )
        problems.need(self.timescale >= 0, f"timescale is {self.timescale}; it must be 0 or more")
        problems.need(
            0 <= self.end_rate < self.learning_rate or self.schedule != "polynomial",
            f"end_rate is {self.end_rate}; it must lie below the learning rate, {self.learning_rate}",
        )
        problems.one_of("warmup_shape", self.warmup_shape, Shape)
        problems.one_of("decay_shape", self.decay_shape, Shape)
        if self.schedule == "piecewise_constant":
            try:
                parse_step_rules(self.step_rules)
            except ValueError as error:
                problems.append(str(error))

    def notes(self) -> list[str]:
        """What is allowed but hardly meant, as sentences."""
        found = []
        if self.type in OWN_RATE and self.learning_rate <= LOW_RATE:
            found.append(
                f"{self.type} finds the learning rate itself and takes yours, {self.learning_rate:g}, as "
                "a factor: it will hardly learn. Set it to 1."
            )
        if not self.follows_schedule and (self.schedule != "constant" or self.warmup):
            found.append(
                f"{self.type} goes without learning-rate schedule and warm-up, as in kohya: yours do "
                "nothing. Some have a warm-up among their arguments (warmup_steps=100)."
            )
        elif self.schedule == "piecewise_constant" and self.warmup:
            found.append(
                "piecewise_constant has no warm-up, as in kohya: give a small factor for the first steps."
            )
        return found

    def check_rates(self) -> None:
        """Raise ValueError for a learning rate that this optimiser is hardly meant to have."""
        least, most = USUAL_RATES.get(self.type, (0.0, 10.0))
        names = ("learning_rate", "text_encoder_1_rate", "text_encoder_2_rate")
        rates = {name: getattr(self, name) for name in names}
        if is_relative(self.type, self.constructor_arguments()):
            return  # it takes no notice of them
        odd = [
            f"{name} is {rate:g}"
            for name, rate in rates.items()
            if rate and not least <= rate <= most
        ]
        if odd:
            raise ValueError(
                f"{self.title}: {' and '.join(odd)}, and {self.type} usually takes {least:g} to {most:g}. "
                "Type it again, with a point and no comma, such as 0.0003 or 3e-4; if it is meant, turn "
                "on unusual_rate in Optimiser Settings."
            )

    def constructor_arguments(self) -> dict[str, Any]:
        """What the optimiser's class is called with beside the parameters and the learning rate."""
        return {**self._own_arguments(), **parse_arguments(self.arguments)}

    def _own_arguments(self) -> dict[str, Any]:
        if self.type not in ADAMW_ALIKE:
            return {}
        return {
            "betas": (self.beta1, self.beta2),
            "eps": self.epsilon,
            "weight_decay": self.weight_decay,
        }

    @property
    def finds_rate(self) -> bool:
        """Whether the optimiser finds the learning rate itself, one for all parameters."""
        return self.type in ONE_RATE or is_relative(self.type, self.constructor_arguments())

    @property
    def text_rates(self) -> tuple[float, float]:
        """The learning rates of both text encoders; 0 for one that is not trained."""
        return self.text_encoder_1_rate, self.text_encoder_2_rate

    @property
    def trains_text(self) -> bool:
        """Whether a text encoder is trained."""
        return any(self.text_rates)

    @property
    def has_several_rates(self) -> bool:
        """Whether UNet and text encoders learn at rates of their own."""
        rates = {rate for rate in self.text_rates if rate}
        return len(rates | {self.learning_rate} if self.train_unet else rates) > 1

    @property
    def follows_schedule(self) -> bool:
        """Whether schedule and warm-up count: schedule-free optimisers keep one rate (kohya's dummy)."""
        return self.type not in SCHEDULE_FREE

    @property
    def needs_horizon(self) -> bool:
        """Whether the learning rate of a step depends on the number of steps."""
        if not self.follows_schedule or self.schedule == "piecewise_constant":
            return False
        return self.schedule not in HORIZON_FREE or 0 < self.warmup < 1
