"""What can be set about checkpoints: when, how many stay, their names (kohya's) and precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...base.config import Config, Problems
from ...base.plain_names import plain_path

Precision = Literal["fp16", "bf16", "fp32"]

_LONGEST_ENDING = "-step00000000.safetensors"


def check_name(name: str) -> str:
    """The name if it can be a file below a folder; raises ValueError saying what to change."""
    what = "be the name of a LoRA file"
    return plain_path(name, what, ending=_LONGEST_ENDING, hidden=True)


EPOCH_NAME, STEP_NAME = "epoch", "at"
"""kohya's names where none is given."""


@dataclass(frozen=True)
class CheckpointConfig(Config):
    """Intermediate LoRA files. Nothing here can change the numbers of a run."""

    title = "Checkpoint settings"

    name: str = ""
    """The files' names begin with this (kohya: output_name); empty takes kohya's `epoch` and `at`."""
    every_steps: int = 0
    """A file is written after every so many optimiser steps (kohya: save_every_n_steps); 0 for none."""
    every_epochs: int = 0
    """A file is written after every so many epochs (kohya: save_every_n_epochs); 0 for none."""
    every_minutes: float = 0.0
    """A file is written when so many minutes have passed since the last; 0 for none."""
    keep_last_steps: int = 0
    """Files of ``every_steps`` stay for so many optimiser steps (kohya: save_last_n_steps); 0 keeps all."""
    keep_last_epochs: int = 0
    """Files of ``every_epochs`` stay for so many epochs (kohya: save_last_n_epochs); 0 keeps all."""
    precision: Precision = "fp16"
    """The tensors of the files have this type, of 2 bytes a number or, for fp32, of 4."""
    epoch_ratio: int = 0
    """At least so many files are written over the whole run, instead of ``every_epochs`` (kohya:
    save_n_epoch_ratio); 0 for none."""

    def check(self, problems: Problems) -> None:
        for field in ("every_steps", "every_epochs", "every_minutes", "epoch_ratio"):
            value = getattr(self, field)
            problems.need(value >= 0, f"{field} is {value}; 0 for none, or more")
        for field in ("keep_last_steps", "keep_last_epochs"):
            value = getattr(self, field)
            problems.need(value >= 0, f"{field} is {value}; 0 for all, or more")
        problems.one_of("precision", self.precision, Precision)
        if self.name:
            try:
                problems.need("/" not in check_name(self.name), f"name is {self.name!r}; without /")
            except ValueError as problem:
                problems.append(f"name: {problem}".rstrip("."))

    @property
    def wanted(self) -> bool:
        return bool(self.every_steps or self.every_epochs or self.every_minutes or self.epoch_ratio)

    def epochs_between(self, epochs: int) -> int:
        """Epochs from one checkpoint to the next in a run of ``epochs``; 0: none."""
        if self.epoch_ratio:
            return epochs // self.epoch_ratio or 1
        return self.every_epochs

    def epoch_file(self, epoch: int) -> str:
        """kohya's file name of the checkpoint after ``epoch`` (from 1)."""
        return f"{self.name or EPOCH_NAME}-{epoch:06}.safetensors"

    def step_file(self, step: int) -> str:
        """kohya's file name of the checkpoint after ``step`` (from 1)."""
        return f"{self.name or STEP_NAME}-step{step:08}.safetensors"

    def epoch_to_remove(self, epoch: int, between: int) -> int | None:
        """The epoch whose checkpoint goes when that of ``epoch`` is written; None: nothing goes."""
        oldest = epoch - between * self.keep_last_epochs
        return oldest if self.keep_last_epochs and oldest >= 0 else None

    def step_to_remove(self, step: int) -> int | None:
        """The step whose checkpoint goes when that of ``step`` is written; None: nothing goes."""
        if not self.keep_last_steps:
            return None
        last = step - self.keep_last_steps - 1
        oldest = last - last % self.every_steps
        return oldest if oldest >= 0 else None
