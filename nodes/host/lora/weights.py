"""Which of the two kinds of weights of a run with a moving average are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from ....trainer.lora_files.file import LoraModel
from ....trainer.lora_tools.metadata import retold
from ....trainer.runs.raw_weights import raw_weights
from ....trainer.runs.trained_lora import TrainedLora
from .tools import Made

Weights = Literal["averaged", "raw"]


def chosen_weights(lora: Mapping[str, Tensor], weights: Weights) -> Made:
    """The averaged weights as they came, or the raw ones of the same step.

    Raises:
        ValueError: it is no LoRA of a training with a moving average, or the raw weights are gone.
    """
    if not isinstance(lora, TrainedLora):
        raise ValueError(
            "Choose Weights takes the lora output of Train: a file holds one kind of weights alone."
        )
    steps, decay = len(lora.result.losses), lora.config.optimiser.ema_decay
    if weights == "averaged" and decay:
        return Made(lora, f"averaged: step {steps} and those before it, by a decay of {decay:g}")
    how = f"the raw weights of step {steps}"
    made = LoraModel(raw_weights(lora), retold(lora.metadata, how))
    return Made(made, f"raw: as step {steps} left them")
