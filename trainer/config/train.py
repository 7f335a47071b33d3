"""What can be set about a training run: frozen, typed, checked as a whole at construction.

A default lives in these classes and nowhere else; the nodes read it from there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from ...base.config import Config, Problems
from .captions import CaptionConfig
from .embedding import EmbeddingConfig
from .lora import LoraConfig
from .loss import LossConfig
from .optimiser import OptimiserConfig
from .optimisers import ONE_AT_A_TIME, STEPS_ALONE
from .slider import SliderConfig
from .speed import SpeedConfig
from .validation import ValidationConfig

RECIPE_VERSION = 2
"""Raised whenever a change of ours alters the numbers of a run; part of a run's identity."""

NOT_IN_IDENTITY = ("checkpointing", "compact", "epochs", "speed", "validation")
"""Settings that cannot change the numbers of a step apart from rounding; epochs are told by the steps that they come to."""

STILL_IN_IDENTITY = ("validation held_out", "speed frozen_weights")
"""What counts inside of them."""

YOUNGER = (
    "full_matrix", "layers", "least_rank", "oft_blocks", "oft_constraint", "parts", "fused_backward",
    "bf16_weights",
)  # fmt: skip
"""Settings of the LoRA that are younger than runs on disk: they count where they are not at their default."""

Checkpointing = Literal["auto", "full", "off"]


MOST_STEPS = 1_000_000
"""Of a run, and of epochs."""


@dataclass(frozen=True)
class TrainConfig(Config):
    """A whole run. `steps` counts optimiser steps, each of batch_size x accumulation images."""

    title = "Train"

    steps: int = 4000
    """The run has so many optimiser steps, 1 or more."""
    batch_size: int = 2
    """A batch has so many images, 1 to 256."""
    accumulation: int = 1
    """The gradients of so many batches, 1 to 1024, make one optimiser step."""
    seed: int = 0
    """This number, from 0 to 2^63-1, fixes the LoRA's start, the order of images, noise and timesteps."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """The adapters have this size and scale."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """The adapters are trained by this optimiser, at this learning rate."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The noise is made and the prediction is judged in this way."""
    captions: CaptionConfig = field(default_factory=CaptionConfig)
    """Captions are read in this way, unless their folder has options of its own."""
    checkpointing: Checkpointing = "auto"
    """Blocks are recomputed in backward to save memory; `auto` does so only when memory demands it."""
    epochs: int = 0
    """The run goes so many times through all images; above 0 this overrides `steps`, which
    `with_steps` (trainer/batches/plan.py) then sets to the resulting number."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Images are held out and measured in this way."""
    compact: bool = False
    """Less is kept for backward, with the same mathematics (see trainer/layers/compact_block.py)."""
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    """A step is computed in this way, with the same result apart from rounding and quantised weights."""
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """An embedding is trained in this way, where it has a token."""
    slider: SliderConfig = field(default_factory=SliderConfig)
    """A slider is trained between these prompts, instead of on images, where it has any."""

    def check(self, problems: Problems) -> None:
        problems.need(1 <= self.steps <= MOST_STEPS, f"steps is {self.steps}; 1..{MOST_STEPS}")
        problems.need(0 <= self.epochs <= MOST_STEPS, f"epochs is {self.epochs}; 0..{MOST_STEPS}")
        problems.need(1 <= self.batch_size <= 256, f"batch_size is {self.batch_size}; 1..256")
        problems.need(
            1 <= self.accumulation <= 1024, f"accumulation is {self.accumulation}; 1..1024"
        )
        problems.need(0 <= self.seed < 2**63, f"seed is {self.seed}; it must be 0..2^63-1")
        problems.one_of("checkpointing", self.checkpointing, Checkpointing)
        kind = self.optimiser.type
        several = self.lora.has_several_rates or self.optimiser.has_several_rates
        problems.need(
            not (several and self.trains_lora and self.optimiser.finds_rate),
            f"{kind} finds one learning rate for all: set loraplus_ratio to 0, take away the block "
            "learning rates and give the text encoders the UNet's rate or 0, or choose another optimiser",
        )
        self._check_embedding(problems)
        self._check_fused_backward(problems)
        problems.need(
            not self.lora.bf16_weights or kind in ONE_AT_A_TIME,
            f"{kind} looks at all weights at once, and those of bf16_weights are stepped one by one: choose "
            "Adafactor, AdamW or AdamW8bit, or turn bf16_weights off",
        )
        problems.need(
            not (self.slider.is_on and self.trains_text),
            "a slider moves the UNet alone: set the learning rates of the text encoders to 0 in Optimiser Settings",
        )

    def _check_embedding(self, problems: Problems) -> None:
        """What an embedding beside a LoRA asks of the optimiser: a rate of its own, which may end."""
        embedding, optimiser = self.embedding, self.optimiser
        if not (embedding.is_on and self.trains_lora):
            return
        problems.need(
            not optimiser.finds_rate or embedding.learning_rate == optimiser.learning_rate,
            f"{optimiser.type} finds one learning rate for all: give the embedding the rate of the LoRA, "
            f"{optimiser.learning_rate:g}, or choose another optimiser",
        )
        problems.need(
            embedding.share == 1 or (optimiser.follows_schedule and not optimiser.finds_rate),
            f"{optimiser.type} keeps one rate for all steps, so that no embedding can stop early: set its "
            "share to 1, or choose another optimiser",
        )

    def _check_fused_backward(self, problems: Problems) -> None:
        """Weights that are stepped within backward have one gradient a step, from one backward."""
        if not self.lora.fused_backward:
            return
        kind = self.optimiser.type
        problems.need(
            kind in STEPS_ALONE,
            f"fused_backward goes with {', '.join(STEPS_ALONE[:-1])} and {STEPS_ALONE[-1]}, not with {kind}: choose "
            "one of them, or turn it off",
        )
        problems.need(
            self.accumulation == 1,
            f"fused_backward leaves no gradients to accumulate: set accumulation ({self.accumulation}) to 1 "
            "and batch_size higher, or turn it off",
        )
        problems.need(
            not self.loss.preservation,
            "fused_backward has one backward a step and preservation of Noise and Loss Settings two: turn one "
            "of them off, or use regularisation images instead",
        )
        problems.need(
            not self.slider.is_on,
            "fused_backward has one backward a step and a slider two, one for each direction: turn it off",
        )
        problems.need(
            not self.speed.cuda_graphs,
            "fused_backward steps weights by rates and counts that a recorded step would repeat: turn it off, "
            "or cuda_graphs of Speed Settings",
        )

    @property
    def kinds_of_layers(self) -> tuple[bool, ...]:
        """Whether blocks are compact: what a memory plan may choose from, the fastest first.

        Only those of a plain LoRA can be.
        """
        if not self.lora.is_plain:
            return (False,)
        if self.compact:
            return (True,)
        may_choose = self.checkpointing == "auto" and self.speed.auto_compact
        return (False, True) if may_choose else (False,)

    @property
    def trains_lora(self) -> bool:
        """Whether there are adapters: not where an embedding is trained alone."""
        return not self.embedding.is_alone

    @property
    def trains_text(self) -> bool:
        """Whether gradients go through the text encoders, to adapters in them or to an embedding."""
        return self.embedding.is_on or self.optimiser.trains_text

    def having(self, **parts: Any) -> TrainConfig:
        """The config with these parts (lora, optimiser ...) in place of its own; None leaves one.

        The rate of an embedding that is trained alone becomes that of the optimiser.
        """
        given = {name: part for name, part in parts.items() if part is not None}
        found = dataclasses.replace(self, **given)
        if found.trains_lora:
            return found
        rate = found.embedding.learning_rate
        optimiser = dataclasses.replace(found.optimiser, learning_rate=rate)
        return dataclasses.replace(found, optimiser=optimiser)

    def identity(self, needs_horizon: bool = False) -> str:
        """Digest of what can change the numbers of step k (docs/design.md, "A run is a folder").

        ``needs_horizon``: something outside the config depends on the number of steps.
        Left out: how memory is spent, all of validation but what is held out, and the number of steps
        unless a schedule or warm-up depends on it.
        """
        recipe = self.to_dict()
        for name in NOT_IN_IDENTITY:
            del recipe[name]
        recipe["captions"] = self.captions.identity()
        recipe["loss"] = self.loss.identity()
        if not self.embedding.is_on:
            del recipe["embedding"]
        if not self.slider.is_on:
            del recipe["slider"]
        for name in YOUNGER:
            if recipe["lora"][name] == getattr(LoraConfig, name):
                del recipe["lora"][name]
        if self.validation.held_out:
            recipe["held_out"] = [self.validation.held_out, self.validation.seed]
        if self.speed.frozen_weights != "as loaded":
            recipe["frozen_weights"] = self.speed.frozen_weights
        parts = self.optimiser, self.captions, self.embedding
        if not (needs_horizon or any(part.needs_horizon for part in parts)):
            del recipe["steps"]
        text = json.dumps([RECIPE_VERSION, recipe], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
