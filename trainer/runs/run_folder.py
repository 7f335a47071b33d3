"""A run on disk: its identity, its results, found again after a restart (docs/design.md, "A run is a folder")."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...base.inside import inside
from ...base.small_file import read_json
from ..config.train import TrainConfig
from ..files.atomic import write_atomically
from ..files.digests import digest
from ..files.lock import folder_lock
from ..lora_files.file import LoraModel, read_lora, write_lora
from ..training.loop import Outcome
from .log import logged
from .measurement import Measurement
from .similar_run import DESCRIPTION, nearest_run
from .state_files import KEPT, StateFiles

log = logging.getLogger(__name__)

GIB = 1 << 30
STATE_BYTES, RESULT_BYTES = 12, 4
"""Of each parameter: its value and two moments, as AdamW has them; and its value in the result."""


@dataclass(frozen=True)
class Inputs:
    """Digests of what a run is made of, and where it begins; two runs with equal inputs are the same run."""

    recipe: str
    data: str
    texts: str
    model: str
    origin: str = ""
    """The step of another run that this one begins with (see Origin); empty: none."""

    @property
    def identity(self) -> str:
        begun = [self.origin] if self.origin else []
        return digest(self.recipe, self.data, self.texts, self.model, *begun)


@dataclass(frozen=True)
class Result:
    """A finished training: the LoRA, the loss of every step, where its file lies."""

    lora: LoraModel
    losses: tuple[float, ...]
    path: Path
    stopped: str | None = None
    trained: bool = True
    """False when it came back from disk."""
    best: LoraModel | None = None
    """The adapters of the best validation, where these are kept."""
    validations: tuple[Measurement, ...] = ()

    def loss_map(self) -> dict[str, list[Any]]:
        """ComfyUI's LOSS_MAP: the loss of every step, and (step, difference, error) of validations."""
        return {"loss": list(self.losses), "validation": [tuple(one) for one in self.validations]}

    def summary(self) -> str:
        """One line for the node."""
        how = "trained" if self.trained else "nothing changed: the stored result of"
        text = f"{how} {len(self.losses)} steps, last loss {self.losses[-1]:.4f}, {self.path.parent.name}"
        finite = [one for one in self.validations if math.isfinite(one.difference)]
        if finite:
            best = min(finite, key=lambda one: one.difference)
            text += f"; best validation at step {best.step}: {best} against step 0"
        return f"{text}; {self.stopped}" if self.stopped else text


class RunFolder:
    """The folder of one run below `root`, named by its identity: results, and states to go on from."""

    def __init__(self, root: Path, inputs: Inputs) -> None:
        self.inputs, self.root = inputs, root
        self.path = root / inputs.identity[:16]
        self.states = StateFiles(self.path)

    @contextmanager
    def open(self, config: TrainConfig) -> Iterator[None]:
        """Hold the folder for a training; it says what it is for from the beginning.

        Raises:
            ValueError: another living process trains in it, or it is a link that leads elsewhere.
        """
        inside(self.path / DESCRIPTION, self.root)
        with folder_lock(self.path), logged(self.path):
            self.states.tidy()
            description = {"inputs": vars(self.inputs), "config": config.to_dict()}
            write_json(self.path / DESCRIPTION, description, self.root)
            yield

    def check_space(
        self, parameters: int, *, averaged: bool = False, keep_best: bool = False
    ) -> None:
        """Raise ValueError where the disk has no room for the states and results of such a network.

        averaged: the states hold a moving average of it too.
        """
        results = 3 if keep_best else 1  # the best is written before the one that it beats goes
        state_bytes = STATE_BYTES + RESULT_BYTES * averaged
        needed = parameters * ((KEPT + 1) * state_bytes + results * RESULT_BYTES)
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise ValueError(
                f"The disk of {self.path} has {free / GIB:.1f} GiB free, and this training may need "
                f"{needed / GIB:.1f} GiB there for its states and the LoRA. Free some space (Clear Cache "
                "shows what lies in the cache) or lower the rank."
            )

    def find(self, steps: int) -> Result | None:
        """The result of exactly that many steps, if it is on disk and whole."""
        return self._read(_stem("steps", steps))

    def find_kept(self, steps: int) -> Result | None:
        """What was kept when a run of exactly that many steps was stopped on purpose, the furthest."""
        for report in sorted(self.path.glob("kept-*.json"), reverse=True):
            found = self._read(report.stem, asked=steps)
            if found is not None:
                return found
        return None

    def save(self, lora: LoraModel, outcome: Outcome, asked: int) -> Result:
        """Write the result of a run that was ``asked`` for so many steps.

        What was stopped on purpose can be found by `find_kept`; what was lost only lies there.
        """
        kind = "stopped" if outcome.lost else "kept" if outcome.stopped else "steps"
        path = self.path / f"{_stem(kind, outcome.steps)}.safetensors"
        write_lora(path, lora, lora.metadata, "fp32", root=self.root)
        report = {"losses": outcome.losses, "stopped": outcome.stopped, "asked": asked}
        write_json(path.with_suffix(".json"), report, self.root)
        return Result(lora, outcome.losses, path, outcome.stopped)

    def nearest(self, config: TrainConfig, needs_horizon: bool = False) -> str | None:
        """How the most similar run differs, as a sentence; None if there is none. See `nearest_run`."""
        return nearest_run(self.path.parent, vars(self.inputs), config, needs_horizon)

    def _read(self, stem: str, asked: int | None = None) -> Result | None:
        """A result that is whole and, if told so, of a run that was asked for so many steps."""
        path = self.path / f"{stem}.safetensors"
        try:
            report = read_json(path.with_suffix(".json"))
            if asked is not None and report["asked"] != asked:
                return None
            losses, stopped = tuple(report["losses"]), report.get("stopped")
            return Result(read_lora(path), losses, path, stopped, trained=False)
        except (OSError, ValueError, LookupError, TypeError) as problem:
            if path.exists():
                log.warning("LoRA Loop: the result in %s is not usable (%s)", self.path, problem)
            return None


def _stem(kind: str, steps: int) -> str:
    return f"{kind}-{steps:08}"


def write_json(path: Path, value: Mapping[str, Any], root: Path) -> None:
    """Write JSON below ``root``, whole or not at all."""
    write_atomically(path, json.dumps(value, indent=1).encode(), root=root)
