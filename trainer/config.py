"""What can be set about a training run: frozen, typed, checked as a whole at construction.

A default lives here and nowhere else; the nodes read it from these classes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from .caption_rules import CaptionOptions
from .checked import Problems, Settings
from .lora_config import LoraConfig
from .optimisers import (
    ADAMW_ALIKE,
    LOW_RATE,
    OWN_RATE,
    OptimiserType,
    check_arguments,
    is_relative,
    parse_arguments,
)

RECIPE_VERSION = 1
"""Raised whenever a change of ours alters the numbers of a run; part of a run's identity."""

LossType = Literal["l2", "l1", "huber", "smooth_l1"]
HuberSchedule = Literal["snr", "exponential", "constant"]
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
Checkpointing = Literal["auto", "full", "off"]

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


@dataclass(frozen=True)
class LossConfig(Settings):
    """Noise, loss function and weighting by timestep (kohya's words; kohya.md section 5)."""

    loss_type: LossType = "l2"
    huber_schedule: HuberSchedule = "snr"
    huber_c: float = 0.1
    huber_scale: float = 1.0
    min_snr_gamma: float = 0.0
    """0 turns min-SNR weighting off; 5 is the paper's value (Hang et al. 2023)."""
    debiased: bool = False
    scale_v_pred: bool = False
    v_pred_like: float = 0.0
    noise_offset: float = 0.0
    noise_offset_random_strength: bool = False
    adaptive_noise_scale: float = 0.0
    """Adds this share of each latent channel's mean to the noise offset; may be negative."""
    multires_iterations: int = 0
    multires_discount: float = 0.3
    ip_noise_gamma: float = 0.0
    """Strength of input perturbation noise (Ning et al. 2023)."""
    ip_noise_gamma_random_strength: bool = False
    min_timestep: int = 0
    max_timestep: int = 1000
    """Timesteps are drawn from min_timestep up to, but without, max_timestep."""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = Problems()
        problems.one_of("loss_type", self.loss_type, LossType)
        problems.one_of("huber_schedule", self.huber_schedule, HuberSchedule)
        problems.need(self.huber_c > 0, f"huber_c is {self.huber_c}; it must be above 0")
        problems.need(self.huber_scale > 0, f"huber_scale is {self.huber_scale}; above 0")
        problems.need(self.min_snr_gamma >= 0, f"min_snr_gamma is {self.min_snr_gamma}; 0 or more")
        problems.need(self.v_pred_like >= 0, f"v_pred_like is {self.v_pred_like}; 0 or more")
        problems.need(self.noise_offset >= 0, f"noise_offset is {self.noise_offset}; 0 or more")
        problems.need(
            self.noise_offset > 0 or not self.adaptive_noise_scale,
            "adaptive_noise_scale is set but noise_offset is 0: give noise_offset a value too",
        )
        problems.need(
            self.multires_iterations >= 0,
            f"multires_iterations is {self.multires_iterations}; 0 or more",
        )
        problems.need(
            0 < self.multires_discount <= 1,
            f"multires_discount is {self.multires_discount}; above 0 and at most 1",
        )
        problems.need(
            self.ip_noise_gamma >= 0, f"ip_noise_gamma is {self.ip_noise_gamma}; 0 or more"
        )
        problems.need(
            0 <= self.min_timestep < self.max_timestep <= 1000,
            f"timesteps are {self.min_timestep} to {self.max_timestep}; they must lie in 0..1000, the "
            "lower one first",
        )
        problems.finish("Noise and Loss settings")

    def check_prediction(self, prediction: str) -> None:
        """Refuse weightings that kohya ties to the other prediction type."""
        problems = Problems()
        problems.need(
            not self.scale_v_pred or prediction == "v",
            "scale_v_pred is meant for v-prediction models and this one predicts noise: turn it off",
        )
        problems.need(
            not self.v_pred_like or prediction == "epsilon",
            "v_pred_like is meant for noise-predicting models and this one predicts v: set it to 0",
        )
        problems.finish("Noise and Loss settings")


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. `steps` counts optimiser steps, each of batch_size x accumulation pictures."""

    steps: int = 4000
    batch_size: int = 2
    accumulation: int = 1
    seed: int = 0
    lora: LoraConfig = field(default_factory=LoraConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    captions: CaptionOptions = field(default_factory=CaptionOptions)
    checkpointing: Checkpointing = "auto"
    """Recompute blocks in backward to save memory; `auto` does so only when memory demands it."""

    def __post_init__(self) -> None:
        problems = Problems()
        problems.need(self.steps >= 1, f"steps is {self.steps}; it must be 1 or more")
        problems.need(1 <= self.batch_size <= 256, f"batch_size is {self.batch_size}; 1..256")
        problems.need(
            1 <= self.accumulation <= 1024, f"accumulation is {self.accumulation}; 1..1024"
        )
        problems.need(0 <= self.seed < 2**63, f"seed is {self.seed}; 0..2^63-1")
        problems.one_of("checkpointing", self.checkpointing, Checkpointing)
        kind = self.optimiser.type
        problems.need(
            not (self.lora.has_several_rates and self.optimiser.finds_rate),
            f"{kind} finds one learning rate for all: set loraplus_ratio to 0 and take away the block "
            "learning rates, or choose another optimiser",
        )
        problems.finish("Train")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def identity(self, needs_horizon: bool = False) -> str:
        """Digest of what can change the numbers of step k (design decision 9).

        ``needs_horizon``: something outside the config depends on the number of steps.
        Left out: the memory plan, and the number of steps unless a schedule or warm-up depends on it.
        """
        recipe = self.to_dict()
        del recipe["checkpointing"]
        if not (needs_horizon or self.optimiser.needs_horizon or self.captions.needs_horizon):
            del recipe["steps"]
        text = json.dumps([RECIPE_VERSION, recipe], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
