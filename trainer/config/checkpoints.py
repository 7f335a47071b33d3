"""What can be set about checkpoints: when, how many stay, their names (kohya's) and precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .problems import Problems, Settings

Precision = Literal["fp16", "bf16", "fp32"]


_RESERVED = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}
"""Device names, which Windows takes for no file, whatever follows a dot."""


_FORBIDDEN = set('<>:"|?*\\') | {chr(code) for code in range(32)}


def check_name(name: str) -> str:
    """The name if it can be a file below a folder; raises ValueError saying what to change."""
    parts = name.replace("\\", "/").split("/")
    bad = any(not p.strip(" .") or p != p.strip() or set(p) & _FORBIDDEN for p in parts)
    bad = bad or any(p.split(".")[0].strip().lower() in _RESERVED for p in parts)
    if bad or Path(name).is_absolute():
        raise ValueError(
            f"{name!r} cannot be the name of a LoRA file. Use letters, digits, spaces, - and _; a / "
            "puts it into a sub-folder of models/loras."
        )
    return "/".join(parts)


EPOCH_NAME, STEP_NAME = "epoch", "at"
"""kohya's names where none is given."""


@dataclass(frozen=True)
class CheckpointConfig(Settings):
    """LoRA files on the way. Nothing here can change the numbers of a run."""

    name: str = ""
    """kohya's output_name; empty: kohya's `epoch` and `at`."""
    every_steps: int = 0
    every_epochs: int = 0
    every_minutes: float = 0.0
    keep_last_steps: int = 0
    """Those of ``every_steps`` from as many last steps stay (kohya: save_last_n_steps); 0: all."""
    keep_last_epochs: int = 0
    """As many of ``every_epochs`` stay (kohya: save_last_n_epochs); 0: all."""
    precision: Precision = "fp16"
    epoch_ratio: int = 0
    """Instead of ``every_epochs``: at least so many over the whole run (kohya: save_n_epoch_ratio)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = Problems()
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
        problems.finish("Checkpoint settings")

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
