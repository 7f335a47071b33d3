"""What validations have found, kept in the run's folder, and what follows: the best step, the end.

A measurement is a function of the run's identity and the step alone, as the steps' numbers are. So
this file serves every run of that identity, whatever its cadence and patience, and where such a run
ends and which of its steps is best can be read from it without training.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

from ..batches.plan import epoch_ends
from ..cache.latents import CachedDataset
from ..config.train import TrainConfig
from ..curves.measurement import Measurement
from ..files.atomic import write_atomically
from ..files.checksum import file_damage
from ..files.record import Part, read_record
from ..lora_files.file import LoraModel, read_own_lora, with_checksum, write_lora
from ..runs.run_folder import Result, RunFolder
from ..runs.scorecard import read_scorecard
from ..runs.troubles import Troubles
from ..training.loop import Outcome
from .when_to_stop import when_to_stop

log = logging.getLogger(__name__)

NAME = "validation.json"

_OF_STEPS = re.compile(r"(?:best-(\d{8,})\.safetensors|steps-(\d{8,})\.json)")


class Losses(NamedTuple):
    """Of every validation by step: the losses of each image at each of its ``timesteps``, image by image."""

    timesteps: int
    losses: dict[int, list[float]]


class Course(NamedTuple):
    """Where a run goes as far as is known.

    ``best``: the step of the lowest finite difference; ``end``: the step after which the run ends,
    None while that needs more measurements; ``known``: up to where nothing is missing; ``gave_up``: whether
    it ends because its patience did.
    """

    best: int | None
    end: int | None
    known: int
    gave_up: bool = False


def follow(
    measured: Mapping[int, float], due: Sequence[int], steps: int, patience: int = 0
) -> Course:
    """Walk along the validations that are ``due``, all of them at most ``steps``."""
    best, since = None, 0
    for step in due:
        if step not in measured:
            return Course(best, None, step - 1)
        value = measured[step]
        if math.isfinite(value) and (best is None or value < measured[best]):
            best, since = step, 0
        else:
            since += 1
        if patience and since >= patience:
            return Course(best, step, step, gave_up=True)
    return Course(best, steps, steps)


def due_steps(cached: CachedDataset, config: TrainConfig) -> tuple[int, ...]:
    """The steps that are followed by a validation, the last one always; none when it is off.

    ``cached`` is what is trained on.
    """
    settings = config.validation
    if not settings.is_on:
        return ()
    due = {config.steps}
    if settings.every:
        due.update(range(settings.every, config.steps, settings.every))
    if settings.every_epochs:
        ends = takewhile(lambda end: end < config.steps, epoch_ends(cached, config))
        due.update(islice(ends, settings.every_epochs - 1, None, settings.every_epochs))
    return tuple(sorted(due))


class ValidationBook:
    """The measurements of one run folder, and the adapters of the best one."""

    def __init__(self, run: RunFolder, cached: CachedDataset, config: TrainConfig) -> None:
        self.due = due_steps(cached, config)
        self._run, self._folder = run, run.path
        self._steps, self._settings = config.steps, config.validation
        self._losses = self._read() if self.due else {}
        self._unwritten: tuple[int, LoraModel] | None = None

    @property
    def troubles(self) -> Troubles:
        """Of the run."""
        return self._run.troubles

    def has(self, step: int) -> bool:
        """Whether that step was measured."""
        return step in self._losses

    def add(self, step: int, losses: Iterable[float]) -> None:
        """Write down the losses of the held-out images after ``step`` steps; 0 is the start."""
        self._losses[step] = list(losses)
        content = {"settings": self._key(), "losses": self._losses}
        path, data = self._folder / NAME, json.dumps(content).encode()
        write_atomically(path, data, root=self._run.root, durable=True)

    def measurement(self, step: int) -> Measurement | None:
        """The validation after that step, None when there was none."""
        if step not in self._losses:
            return None
        return Measurement.compare(step, self._losses[0], self._losses[step])

    def course(self, last: int | None = None) -> Course:
        """Where the run goes; with ``last``, where one of that many steps does."""
        due, steps = list(self.due), self._steps
        if due and last is not None:
            due, steps = [*(step for step in due if step < last), last], last
        measured = {
            step: Measurement.compare(step, self._losses[0], losses).difference
            for step, losses in self._losses.items()
        }
        return follow(measured, due, steps, self._settings.patience)

    def reach(self) -> int:
        """The furthest step whose state a run may go on from: all that it would have is there."""
        if not self.due:
            return self._steps
        if not self.has(0):
            return 0
        course = self.course()
        best = course.best
        if self._settings.keep_best and best is not None and not self.has_best(best):
            return best - 1
        return course.known - course.gave_up  # a loop ends only after a step that it does

    def has_best(self, step: int) -> bool:
        """Whether the adapters of that step are on disk, whole."""
        try:
            return file_damage(self.best_path(step)) is None
        except OSError:
            return False

    def best_path(self, step: int) -> Path:
        return self._folder / f"best-{step:08}.safetensors"

    def verdict(self, last: int) -> str | None:
        """Why a run ends after ``last`` steps, before its time; None when it does not."""
        if last >= self._steps or not self.course(last).gave_up:
            return None
        return (
            f"stopped after step {last} of {self._steps}: {self._settings.patience} validations in a "
            "row were no better than the best"
        )

    def find(self, *, kept: bool) -> Result | None:
        """The result on disk that the run would come to, if all of it is there.

        ``kept``: else what was kept when it was stopped on purpose.
        """
        end = self.course().end
        found = None if end is None else self._run.find(end)
        if found is None and kept:
            found = self._run.find_kept(self._steps)
        return found and self._judge(found)

    def save(self, lora: LoraModel, outcome: Outcome) -> Result:
        """Write the result of the run. Out of patience it is what a run of as many steps comes to."""
        if self.verdict(outcome.steps) and not outcome.lost:
            outcome = replace(outcome, stopped=None)
        result = self._run.save(lora, outcome, self._steps)
        return self._judge(result) or result

    def _judge(self, result: Result) -> Result | None:
        """The result with what validation says of it; None, and their file gone, if the best adapters
        cannot be read."""
        last, best = len(result.losses), None
        step = self.course(last).best
        if self._settings.keep_best and step is not None:
            try:
                best = self._read_best(step, result.lora)
            except ValueError as problem:
                log.warning("LoRA Loop: %s", problem)
                if not result.trained and self.best_path(step).exists():
                    self._run.damages.append(f"{problem}.")
                with suppress(OSError):
                    self.best_path(step).unlink(missing_ok=True)
                return None
        stopped = result.stopped or self.verdict(last)
        measured = (self.measurement(step) for step in self.due if step <= last)
        validations = tuple(one for one in measured if one is not None)
        losses = {step: values for step, values in self._losses.items() if step <= last}
        card = read_scorecard(self._folder)
        leakage = None if card is None else card.leakage()
        advice = when_to_stop(losses, self._settings.timesteps, leakage)
        return replace(
            result,
            best=best,
            stopped=stopped,
            validations=validations,
            at_start=tuple(losses.get(0, ())),
            advice=advice,
        )

    def keep(self, step: int, lora: LoraModel) -> None:
        """Put the adapters of the best step on disk, then take away those that they beat.

        The best of a shorter run whose result is here stays.

        Raises:
            CannotWrite: there is no room; they are then kept in memory for the result of this run.
        """
        self._unwritten = step, lora
        write_lora(
            self.best_path(step), lora, with_checksum(lora.metadata), "fp32", root=self._run.root
        )
        self._unwritten = None
        kept = {step, *(self.course(last).best for last in self._steps_of("steps-*.json"))}
        for other in self._steps_of("best-*.safetensors"):
            if other not in kept:
                self.best_path(other).unlink(missing_ok=True)

    def _steps_of(self, names: str) -> list[int]:
        """The steps in the names of our own files; others that look alike are passed over."""
        matches = (_OF_STEPS.fullmatch(path.name) for path in self._folder.glob(names))
        return [int(match[1] or match[2]) for match in matches if match]

    def _read_best(self, step: int, result: LoraModel) -> LoraModel:
        """The adapters of the best step; ValueError if they are damaged, or of another kind of LoRA."""
        if self._unwritten is not None and self._unwritten[0] == step:
            return self._unwritten[1]
        best = read_own_lora(self.best_path(step))
        if {key: value.shape for key, value in best.items()} != {
            key: value.shape for key, value in result.items()
        }:
            raise ValueError(f"{self.best_path(step)} is damaged: it is another LoRA")
        return best

    def _key(self) -> list[int]:
        """What the losses depend on beside the run's identity."""
        return [self._settings.timesteps, self._settings.max_pictures]

    def _read(self) -> dict[int, list[float]]:
        return read_record(self._folder / NAME, self._parsed) or {}

    def _parsed(self, part: Part) -> dict[int, list[float]]:
        if [value.whole() for value in part["settings"]] != self._key():
            return {}
        return _losses(part)


def read_losses(folder: Path) -> Losses | None:
    """What was measured in a run's folder; None where nothing was, with a warning where it is damaged."""

    def parsed(part: Part) -> Losses:
        timesteps, losses = part["settings"].exactly(2)[0].whole(least=1), _losses(part)
        if losses and len(losses[0]) % timesteps:
            raise ValueError("its losses are not of whole images")
        return Losses(timesteps, losses)

    return read_record(folder / NAME, parsed)


def when_to_stop_of(folder: Path) -> str:
    """The sentence of `when_to_stop` about the run in a folder; "" where too little was measured."""
    found, card = read_losses(folder), read_scorecard(folder)
    if found is None:
        return ""
    return when_to_stop(found.losses, found.timesteps, None if card is None else card.leakage())


def _losses(part: Part) -> dict[int, list[float]]:
    """Losses by step: as many at each as at step 0, which all are compared with, two at least."""
    losses = {_step(n): value.numbers() for n, value in part["losses"].fields().items()}
    counts = {len(values) for values in losses.values()}
    if losses and (0 not in losses or len(counts) != 1 or min(counts) < 2):
        raise ValueError("its losses are not of the same images")
    return losses


def _step(name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", name):
        raise ValueError(f"{name[:20]!r} is no step")
    return int(name)
