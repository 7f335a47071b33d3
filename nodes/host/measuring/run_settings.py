"""With what settings the run of a LoRA was trained, read from its folder, and which of its steps was best."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from torch import Tensor

from ....base.config import Config
from ....trainer.config.captions import CaptionConfig
from ....trainer.config.loss import LossConfig
from ....trainer.config.train import TrainConfig
from ....trainer.config.validation import ValidationConfig
from ....trainer.lora_files.file import LoraModel, read_own_lora
from ....trainer.runs.run_list import Run, run_of, steps_of
from .. import folders

_BEST = re.compile(r"best-\d{8,}\.safetensors")

AnyConfig = TypeVar("AnyConfig", bound=Config)


def find_run(lora: Mapping[str, Tensor]) -> Run | None:
    """The run that a LoRA is of, where its folder is still there."""
    return run_of(folders.runs_root(), getattr(lora, "metadata", {}))


def settings_of(run: Run | None) -> TrainConfig:
    """What a validation of the run depends on: its loss, captions and held-out images; else the defaults."""
    stored = {} if run is None else run.config
    return TrainConfig(
        loss=_read(LossConfig, stored.get("loss")),
        captions=_read(CaptionConfig, stored.get("captions")),
        validation=_read(ValidationConfig, stored.get("validation")),
    )


def _read(kind: type[AnyConfig], stored: Any) -> AnyConfig:
    """A config as a run keeps it; what only another version knows is left out."""
    known = {each.name for each in fields(kind)}  # pyright: ignore[reportArgumentType]
    stored = stored if isinstance(stored, Mapping) else {}
    return kind(**{name: value for name, value in stored.items() if name in known})


def best_of(run: Run | None, lora: Mapping[str, Tensor]) -> tuple[int, LoraModel] | None:
    """The best step of a run up to that of its LoRA, and the adapters of that; None where none was kept.

    A later best has beaten the earlier ones. None too where the LoRA is of that step itself.
    """
    last = getattr(lora, "metadata", {}).get("ss_steps", "")
    if run is None or not last.isdecimal():
        return None
    paths = [path for path in run.path.glob("best-*.safetensors") if _BEST.fullmatch(path.name)]
    steps = {steps_of(path): path for path in paths if steps_of(path) <= int(last)}
    if not steps or max(steps) == int(last):
        return None
    try:
        return max(steps), read_own_lora(steps[max(steps)])
    except ValueError:
        return None
