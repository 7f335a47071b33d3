"""All runs of a folder: what they are, how much room they take, and taking old ones away."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ...base.small_file import read_json
from ..files.lock import folder_lock, owner
from .similar_run import DESCRIPTION, read_description
from .state_files import NAME as STATE
from .trash import Trash, remove_folder

_NAME = re.compile(r"[0-9a-f]{16}")
_RESULT = re.compile(r"(steps|kept|stopped)-(\d{8,})\.safetensors")
_DAY = 86400.0
_TRIGGER = "modelspec.trigger_phrase"


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
        asked = int(self.config.get("steps", 0))
        whole = [path for path in self.results if path.name.startswith("steps-")]
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
    def trigger(self) -> str:
        """The trigger word of its latest LoRA, or ""."""
        return self.metadata.get(_TRIGGER, "")


def list_runs(root: Path) -> list[Run]:
    """The runs below ``root``, the latest first. What is no run of ours is passed over."""
    runs = [run for path in root.glob("*") if (run := find_run(root, path.name)) is not None]
    return sorted(runs, key=lambda run: (-run.time, run.name))


def find_run(root: Path, name: str) -> Run | None:
    """The run of that name below ``root``; None if there is none. A name is never a path."""
    path = root / name
    if not _NAME.fullmatch(name) or path.is_symlink() or not (path / DESCRIPTION).is_file():
        return None
    files = [(file, file.stat()) for file in path.rglob("*") if file.is_file()]
    described = read_description(path)
    return Run(
        path,
        time=max((stat.st_mtime for file, stat in files), default=0.0),
        size=sum(stat.st_size for _, stat in files),
        results=_matching(path, _RESULT),
        states=_matching(path, STATE),
        config=described["config"] if described else {},
        owner=owner(path),
    )


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
        old = [run for run in runs[self.keep_last :] if run.time <= before and not run.owner]
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
            try:
                with folder_lock(run.path):  # who begins to train in it now is told to wait
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


def _matching(folder: Path, pattern: re.Pattern[str]) -> tuple[Path, ...]:
    found = [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    return tuple(sorted(found, key=lambda path: (steps_of(path), path.name)))


def _asked(result: Path) -> int | None:
    """How many steps a run was asked for that came to this result."""
    try:
        return read_json(result.with_suffix(".json")).get("asked")
    except (OSError, ValueError, AttributeError):
        return None


def steps_of(path: Path) -> int:
    """How many steps a result or a state of a run is of."""
    return int(path.name.split("-")[1].split(".")[0])
