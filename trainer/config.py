"""What can be set about a training run: frozen, typed, checked as a whole at construction.

A default lives in these classes and nowhere else; the nodes read it from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from .caption_rules import CaptionOptions
from .checked import Problems
from .lora_config import LoraConfig
from .loss_config import LossConfig
from .optimiser_config import OptimiserConfig

__all__ = ["RECIPE_VERSION", "LoraConfig", "LossConfig", "OptimiserConfig", "TrainConfig"]

RECIPE_VERSION = 1
"""Raised whenever a change of ours alters the numbers of a run; part of a run's identity."""

Checkpointing = Literal["auto", "full", "off"]


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
    epochs: int = 0
    """Above 0 it goes before `steps`, which `batches.with_steps` then sets to what it comes to."""

    def __post_init__(self) -> None:
        problems = Problems()
        problems.need(self.steps >= 1, f"steps is {self.steps}; it must be 1 or more")
        problems.need(self.epochs >= 0, f"epochs is {self.epochs}; it must be 0 or more")
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
        Epochs are told by the steps that they come to.
        """
        recipe = self.to_dict()
        del recipe["checkpointing"], recipe["epochs"]
        if not (needs_horizon or self.optimiser.needs_horizon or self.captions.needs_horizon):
            del recipe["steps"]
        text = json.dumps([RECIPE_VERSION, recipe], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
