"""A run is a folder: its identity, its results, found again after a restart (design decision 9)."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .atomic import write_atomically
from .config import TrainConfig
from .digests import digest
from .lock import folder_lock
from .lora_file import LoraModel, read_lora, write_lora
from .state import KEPT, StateFiles

log = logging.getLogger(__name__)

DESCRIPTION = "run.json"
GIB = 1 << 30
STATE_BYTES, RESULT_BYTES = 12, 4
"""Of each parameter: its value and two moments, as AdamW has them; and its value in the result."""


@dataclass(frozen=True)
class Inputs:
    """Digests of what a run is made of; two runs with equal inputs are the same run."""

    recipe: str
    data: str
    texts: str
    model: str

    @property
    def identity(self) -> str:
        return digest(self.recipe, self.data, self.texts, self.model)


@dataclass(frozen=True)
class Result:
    """A finished training: the LoRA, the loss of every step, where its file lies."""

    lora: LoraModel
    losses: tuple[float, ...]
    path: Path
    stopped: str | None = None
    trained: bool = True
    """False when it came back from disk."""

    def summary(self) -> str:
        """One line for the node."""
        how = "trained" if self.trained else "nothing changed: the stored result of"
        text = f"{how} {len(self.losses)} steps, last loss {self.losses[-1]:.4f}, {self.path.parent.name}"
        return f"{text}; {self.stopped}" if self.stopped else text


class RunFolder:
    """The folder of one run below `root`, named by its identity: results, and states to go on from."""

    def __init__(self, root: Path, inputs: Inputs) -> None:
        self.inputs = inputs
        self.path = root / inputs.identity[:16]
        self.states = StateFiles(self.path)

    @contextmanager
    def open(self, config: TrainConfig) -> Iterator[None]:
        """Hold the folder for a training; it says what it is for from the beginning.

        Raises:
            ValueError: another living process trains in it.
        """
        with folder_lock(self.path):
            self.states.tidy()
            description = {"inputs": vars(self.inputs), "config": config.to_dict()}
            write_json(self.path / DESCRIPTION, description)
            yield

    def check_space(self, parameters: int, *, averaged: bool = False) -> None:
        """Raise ValueError where the disk has no room for the states and the result of such a network.

        averaged: the states hold a moving average of it too.
        """
        state_bytes = STATE_BYTES + RESULT_BYTES * averaged
        needed = parameters * ((KEPT + 1) * state_bytes + RESULT_BYTES)
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise ValueError(
                f"The disk of {self.path} has {free / GIB:.1f} GiB free, and this training may need "
                f"{needed / GIB:.1f} GiB there for its states and the LoRA. Free some space (Clear Cache "
                "shows what lies in the cache) or lower the rank."
            )

    def find(self, steps: int) -> Result | None:
        """The result of exactly that many steps, if it is on disk and whole."""
        lora_path, report_path = self._files(steps)
        try:
            losses = tuple(json.loads(report_path.read_text("utf-8"))["losses"])
            lora = read_lora(lora_path)
        except (OSError, ValueError, LookupError, TypeError) as problem:
            if lora_path.exists():
                log.warning("LoRA Loop: the result in %s is not usable (%s)", self.path, problem)
            return None
        return Result(lora, losses, lora_path, trained=False)

    def save(self, lora: LoraModel, losses: tuple[float, ...], stopped: str | None) -> Result:
        """Write the result. A run that stopped early is kept under the steps that it did."""
        lora_path, report_path = self._files(len(losses), stopped is not None)
        write_lora(lora_path, lora, lora.metadata, "fp32")
        write_json(report_path, {"losses": losses, "stopped": stopped})
        return Result(lora, losses, lora_path, stopped)

    def nearest(self) -> str | None:
        """Which inputs differ from the most similar other run, as a sentence; None if there is none."""
        found = []
        for description in sorted(self.path.parent.glob(f"*/{DESCRIPTION}")):
            try:
                other = dict(json.loads(description.read_text("utf-8"))["inputs"])
            except (OSError, ValueError, LookupError, TypeError):
                continue
            changed = [
                name for name, value in vars(self.inputs).items() if other.get(name) != value
            ]
            found.append((len(changed), description.stat().st_mtime, description.parent, changed))
        if not found:
            return None
        fewest = min(count for count, *_ in found)
        _, _, folder, changed = max(f for f in found if f[0] == fewest)
        what = ", ".join(changed) if changed else "number of steps"
        return f"this run differs from {folder.name} in: {what}"

    def _files(self, steps: int, stopped: bool = False) -> tuple[Path, Path]:
        stem = f"{'stopped' if stopped else 'steps'}-{steps:08}"
        return self.path / f"{stem}.safetensors", self.path / f"{stem}.json"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    write_atomically(path, json.dumps(value, indent=1).encode())
