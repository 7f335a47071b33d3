"""The LoRA of a step of a run: its result, the kept best one, or a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from ....trainer.lora_files.file import LoraModel, read_own_lora
from ....trainer.runs.checkpoints import FOLDER as CHECKPOINTS
from ....trainer.runs.run_list import Run

STEPS = "ss_steps"
"""The metadata key of how many steps a LoRA is of."""

log = logging.getLogger(__name__)


class StepLora(NamedTuple):
    """A LoRA and the step that it is of."""

    step: int
    lora: LoraModel


def nearest_lora(run: Run, step: int) -> StepLora | None:
    """The LoRA of the step, else of the nearest one that is on disk and whole, the earlier of two."""
    files = sorted(_files(run), key=lambda one: (abs(one[0] - step), one[0]))
    for found, path in files:
        try:
            return StepLora(found, read_own_lora(path))
        except ValueError as problem:
            log.warning("LoRA Loop: %s", problem)
    return None


def steps_in(metadata: dict[str, str]) -> int | None:
    """How many steps a LoRA is of, as it says; None where it does not."""
    said = metadata.get(STEPS, "")
    return int(said) if said.isdecimal() and len(said) < 10 else None


def _files(run: Run) -> Iterator[tuple[int, Path]]:
    best = run.path.glob("best-*.safetensors")
    for path in (*run.results, *best, *(run.path / CHECKPOINTS).glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                step = steps_in(file.metadata() or {})
        except (OSError, SafetensorError):
            continue
        if step is not None:
            yield step, path
