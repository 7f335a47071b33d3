"""All runs of a folder: what they are, how much room they take, and taking old ones away."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..files.lock import folder_lock, owner
from ..files.record import Part, read_record
from .description import DESCRIPTION, Description, load_description
from .run_folder import steps_in
from .state_files import NAME as STATE
from .trash import Trash, remove_folder

_NAME = re.compile(r"[0-9a-f]{16}")
_RESULT = re.compile(r"(steps|kept|stopped)-(\d{8,})\.safetensors")
_DAY = 86400.0
_TRIGGER, _MODEL = "modelspec.trigger_phrase", "ss_sd_model_name"


@dataclass(frozen=True)
class Run:
    """One run on disk. time: when it was last worked on, unix seconds; size: bytes of all its files."""

    path: Path
    time: float
    size: int
    results: tuple[Path, ...]
    """LoRAs, the furthest last."""
    states: tuple[Path, ...]
    """What it can go on from, the furthest last."""
    config: dict[str, Any]
    owner: str | None
    """The process that trains in it."""
    number: int = 0
    """Its place in the order of runs (see Description)."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Digests of what it is made of, by name (see `Inputs`)."""
    model: str = ""
    """The file of the base model; "" where its description does not say it (see `base_model`)."""
    damage: str | None = None
    """Why it does not say what it is, as a sentence; its config is then empty."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def steps(self) -> int:
        """How far it got."""
        return max((steps_of(path) for path in (*self.results, *self.states)), default=0)

    @property
    def is_finished(self) -> bool:
        """Whether it has got as far as it was last asked to, or ended by itself, its patience over."""
        whole = [path for path in self.results if path.name.startswith("steps-")]
        asked = self.config.get("steps")
        if asked is None:  # its description is damaged
            return any(_asked(path) == steps_of(path) for path in whole)
        return any(steps_of(path) >= asked or _asked(path) == asked for path in whole)

    @property
    def status(self) -> str:
        """One or two words."""
        if self.owner:
            return "training now"
        if self.is_finished:
            return "finished"
        if self.results and self.results[-1].name.startswith(("kept-", "stopped-")):
            return "stopped" if steps_of(self.results[-1]) == self.steps else "unfinished"
        return "unfinished" if self.states else "without a result"

    @property
    def metadata(self) -> dict[str, str]:
        """What its latest LoRA says of itself."""
        try:
            with safe_open(self.results[-1], framework="pt") as file:
                return file.metadata() or {}
        except (IndexError, OSError, SafetensorError):
            return {}

    @property
    def base_model(self) -> str:
        """The name of the base model's file, or ""; of older runs only the LoRA knows it."""
        return self.model or self.metadata.get(_MODEL, "")

    @property
    def trigger(self) -> str:
        """The trigger word of its latest LoRA, or ""."""
        return self.metadata.get(_TRIGGER, "")


def list_runs(root: Path) -> list[Run]:
    """The runs below ``root``, the latest first: as they are numbered, those without a number by time.

    What is no run of ours is passed over; a run with damaged files says so (see `Run.damage`), and has
    its place by time.
    """
    return in_order(run for path in root.glob("*") if (run := find_run(root, path.name)))


def in_order(found: Iterable[Run]) -> list[Run]:
    """Runs as `list_runs` gives them."""
    runs = list(found)

    def place(run: Run) -> int:
        if run.damage is None:
            return run.number
        return max((other.number for other in runs if other.time <= run.time), default=0)

    return sorted(runs, key=lambda run: (-place(run), -run.time, run.name))


def find_run(root: Path, name: str) -> Run | None:
    """The run of that name below ``root``; None if there is none. A name is never a path."""
    path = root / name
    if not _NAME.fullmatch(name) or path.is_symlink():
        return None
    stats = _stats(path)
    own = [file for file in stats if file.parent == path]
    results, states = _matching(own, _RESULT), _matching(own, STATE)
    if path / DESCRIPTION not in stats and not (results or states):
        return None
    described, damage = Description({}, {}, 0), None
    try:
        described = load_description(path)
    except ValueError as problem:
        damage = str(problem)
    return Run(
        path,
        time=max((stat.st_mtime for stat in stats.values()), default=0.0),
        size=sum(stat.st_size for stat in stats.values()),
        results=results,
        states=states,
        config=described.config,
        owner=owner(path),
        number=described.number,
        inputs=described.inputs,
        model=described.model,
        damage=damage,
    )


def _stats(folder: Path) -> dict[Path, os.stat_result]:
    """What is known of every file below a folder; those that vanish meanwhile are left out."""
    found = {}
    for home, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found[Path(home, name)] = Path(home, name).stat()
    return found


def unknown_run(root: Path, name: str) -> str:
    """The sentence about a run that is not there."""
    known = ", ".join(run.name for run in list_runs(root)[:5])
    return (
        f"there is no run called {name!r} in {root}. "
        + (f"The latest are: {known}." if known else "There is none at all yet.")
        + " The node Runs lists them; a name has 16 letters and digits."
    )


@dataclass(frozen=True)
class Pruning:
    """What goes: runs, or only the states of finished runs, not of the last ``keep_last`` nor younger
    than ``older_than_days``."""

    keep_last: int = 10
    older_than_days: float = 30.0
    only_states: bool = False
    """Only what finished runs could go on from; their LoRAs, losses and previews stay."""

    def chosen(self, runs: Sequence[Run]) -> list[Run]:
        """Those of ``runs``, the latest first, that something is removed of. None that is being trained."""
        before = time.time() - self.older_than_days * _DAY
        any_age = not self.older_than_days  # also from the future, of a clock that was set back
        older = [run for run in runs[self.keep_last :] if any_age or run.time <= before]
        old = [run for run in older if not run.owner]
        return [r for r in old if r.is_finished and r.states] if self.only_states else old

    def size(self, run: Run) -> int:
        """Bytes that go with a chosen run."""
        return sum(path.stat().st_size for path in run.states) if self.only_states else run.size

    def remove(
        self, chosen: Sequence[Run], trash: Trash | None = None
    ) -> Iterator[tuple[Run, str | None]]:
        """Move what goes of the chosen runs to the trash; each with None, or with the reason why it stays.

        Without a ``trash`` it is deleted for good.
        """
        for run in chosen:
            now = find_run(run.path.parent, run.name)
            try:
                if now is None:
                    raise ValueError("it is gone")
                with folder_lock(run.path):  # who begins to train in it now is told to wait
                    if (now.time, now.size) != (run.time, run.size):
                        raise ValueError("it has changed since; queue again")
                    self._remove(run, trash)
                yield run, None
            except (OSError, ValueError) as problem:
                yield run, str(problem)

    def _remove(self, run: Run, trash: Trash | None) -> None:
        if trash is not None:
            trash.take_states(run.path, run.states) if self.only_states else trash.take(run.path)
        elif self.only_states:
            for path in run.states:
                path.unlink(missing_ok=True)
        else:
            remove_folder(run.path)


def _matching(files: Iterable[Path], pattern: re.Pattern[str]) -> tuple[Path, ...]:
    found = [path for path in files if pattern.fullmatch(path.name)]
    return tuple(sorted(found, key=lambda path: (steps_of(path), path.name)))


def _asked(result: Path) -> int | None:
    """How many steps a run was asked for that came to this result."""

    def asked(part: Part) -> int | None:
        found = part.get("asked")
        return None if found is None else found.whole()

    return read_record(result.with_suffix(".json"), asked)


def steps_of(path: Path) -> int:
    """How many steps a result or a state of a run is of."""
    return steps_in(path.name)


def run_of(root: Path, metadata: Mapping[str, str]) -> Run | None:
    """The run below ``root`` that a LoRA is of, by its metadata; None where it is not there, or not ours."""
    session = metadata.get("ss_session_id", "")
    if not re.fullmatch(r"[0-9]{1,10}", session):
        return None
    found = root.glob(f"{int(session):08x}*")  # a session is named like the run that it is of
    return next((run for path in found if (run := find_run(root, path.name))), None)
