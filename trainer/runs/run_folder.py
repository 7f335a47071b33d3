"""A run on disk: its identity, its results, found again after a restart (docs/design.md, "A run is a folder")."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...base.inside import inside
from ...base.write_errors import CannotWrite, writing
from ..config.train import TrainConfig
from ..curves.measurement import Measurement
from ..files.atomic import write_atomically
from ..files.digests import digest
from ..files.lock import folder_lock
from ..files.record import Part, load_record
from ..lora_files.file import LoraModel, read_own_lora, with_checksum, write_lora
from ..training.loop import Outcome
from .description import DESCRIPTION, describe, next_number
from .log import logged
from .similar_run import nearest_run
from .state_files import KEPT, StateFiles
from .troubles import Troubles

log = logging.getLogger(__name__)

_KEPT = re.compile(r"kept-\d{8,}\.json")
_STILL_THERE = "The LoRA itself is not lost: it is what this node gives, so Save LoRA can put it on another disk."

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
    notes: tuple[str, ...] = ()
    """What the user must know of it, as sentences: a damaged file that it takes the place of, a full disk."""
    written: bool = True
    """False when there was no room for its file at ``path``."""
    at_start: tuple[float, ...] = ()
    """The losses of the held-out images at step 0, which ``validations`` are differences to."""
    advice: str = ""
    """When to stop, in words (see trainer/validation/when_to_stop.py); "" where nothing can be said."""
    timesteps: tuple[int, ...] = ()
    """How many samples had a timestep in each equal part of them, where they are not drawn evenly."""

    def loss_map(self) -> dict[str, list[Any]]:
        """ComfyUI's LOSS_MAP: the loss of every step, and (step, difference, error) of validations.

        Beside them `timesteps`, where there are any.
        """
        found = {"loss": list(self.losses), "validation": [tuple(one) for one in self.validations]}
        return found | ({"timesteps": list(self.timesteps)} if self.timesteps else {})

    @property
    def best_validation(self) -> Measurement | None:
        """The one of the lowest finite difference to step 0; None if there is none."""
        finite = [one for one in self.validations if math.isfinite(one.difference)]
        return min(finite, key=lambda one: one.difference) if finite else None

    def summary(self) -> str:
        """One line for the node, and one for each note."""
        how = "trained" if self.trained else "nothing changed: the stored result of"
        text = f"{how} {len(self.losses)} steps, last loss {self.losses[-1]:.4f}, {self.path.parent.name}"
        best = self.best_validation
        if best is not None:
            text += f"; best validation at step {best.step}: {best} against step 0"
        said = [f"{text}; {self.stopped}" if self.stopped else text, self.advice, *self.notes]
        return "\n".join(filter(None, said))


class RunFolder:
    """The folder of one run below `root`, named by its identity: results, and states to go on from."""

    def __init__(self, root: Path, inputs: Inputs) -> None:
        self.inputs, self.root = inputs, root
        self.path = root / inputs.identity[:16]
        self.states = StateFiles(self.path)
        self.damages: list[str] = []
        """What was found damaged in it, as sentences."""
        self.troubles = Troubles(self.path)
        self._description = b""

    @contextmanager
    def open(self, config: TrainConfig, model: str = "") -> Iterator[None]:
        """Hold the folder for a training; it says what it is for from the beginning.

        ``model``: the name of the checkpoint's file, where it is known.

        Raises:
            ValueError: another living process trains in it, or it is a link that leads elsewhere.
        """
        inside(self.path / DESCRIPTION, self.root)
        with folder_lock(self.path), logged(self.path):
            self.states.tidy()
            number = next_number(path.parent for path in self.path.parent.glob(f"*/{DESCRIPTION}"))
            self._description = describe(vars(self.inputs), config, number, model)
            write_atomically(self.path / DESCRIPTION, self._description, root=self.root)
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
        reports = [path for path in self.path.glob("kept-*.json") if _KEPT.fullmatch(path.name)]
        for report in sorted(reports, reverse=True):
            found = self._read(report.stem, asked=steps)
            if found is not None:
                return found
        return None

    def save(self, lora: LoraModel, outcome: Outcome, asked: int) -> Result:
        """Write the result of a run that was ``asked`` for so many steps.

        What was stopped on purpose can be found by `find_kept`; what was lost only lies there. What
        cannot be written is given back all the same, with a note that says so.
        """
        kind = "stopped" if outcome.lost else "kept" if outcome.stopped else "steps"
        path = self.path / f"{_stem(kind, outcome.steps)}.safetensors"
        report = {"losses": outcome.losses, "stopped": outcome.stopped, "asked": asked}
        written, notes = False, [f"{damage} It was made again." for damage in self.damages]
        notes += self.troubles.notes
        try:
            with writing(path):
                write_lora(path, lora, with_checksum(lora.metadata), "fp32", root=self.root)
                written = True
                described = self.path / DESCRIPTION
                if self._description and not described.exists():  # deleted meanwhile
                    write_atomically(described, self._description, root=self.root)
                write_json(path.with_suffix(".json"), report, self.root)
        except CannotWrite as error:
            log.error("LoRA Loop: the result of run %s: %s", self.path.name, error)
            notes.append(f"{error}. {_STILL_THERE}")
        return Result(
            lora, outcome.losses, path, outcome.stopped, notes=tuple(notes), written=written
        )

    def nearest(self, config: TrainConfig, needs_horizon: bool = False) -> str | None:
        """How the most similar run differs, as a sentence; None if there is none. See `nearest_run`.

        Of a run that was begun before it says that it begins again.
        """
        if (self.path / DESCRIPTION).exists():
            return "it was begun before, but left no state that these steps could go on from"
        return nearest_run(self.path.parent, vars(self.inputs), config, needs_horizon)

    def _read(self, stem: str, asked: int | None = None) -> Result | None:
        """A result that is whole and, if told so, of a run that was asked for so many steps."""
        path = self.path / f"{stem}.safetensors"
        try:
            report = load_record(path.with_suffix(".json"), _report(steps_in(stem)))
            if asked is not None and report.asked != asked:
                return None
            lora = read_own_lora(path)
            return Result(lora, report.losses, path, report.stopped, trained=False)
        except FileNotFoundError:  # its report is written last
            return None
        except ValueError as problem:
            self.damages.append(f"{problem}.")
            log.warning("LoRA Loop: the stored result of run %s: %s", self.path.name, problem)
            return None


class _Report(NamedTuple):
    """What is known of a result beside its LoRA. asked: None in those of old versions."""

    losses: tuple[float, ...]
    stopped: str | None
    asked: int | None


def _report(steps: int) -> Callable[[Part], _Report]:
    """How the report of a result of so many steps is read."""

    def parse(part: Part) -> _Report:
        losses = tuple(part["losses"].numbers())
        if len(losses) != steps or not losses:
            raise ValueError(f"it has {len(losses)} losses for {steps} steps")
        stopped, asked = part.get("stopped"), part.get("asked")
        return _Report(losses, stopped and stopped.text(), asked and asked.whole())

    return parse


def _stem(kind: str, steps: int) -> str:
    return f"{kind}-{steps:08}"


def steps_in(stem: str) -> int:
    """How many steps a result or a state is of, by its name."""
    return int(stem.split("-")[1].split(".")[0])


def write_json(path: Path, value: Mapping[str, Any], root: Path) -> None:
    """Write JSON below ``root``, whole or not at all."""
    write_atomically(path, json.dumps(value, indent=1).encode(), root=root)
