"""The trash of pruned runs: moved there whole, given back, and emptied. Owns the counting of the days until then."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..files import lock
from ..files.atomic import write_atomically
from ..files.record import Part, load_record
from .state_files import NAME as STATE

log = logging.getLogger(__name__)

DAYS = 14.0
"""What was moved to the trash stays there so long."""

MOST_AT_ONCE = 3.0
"""Days that count at most between two looks: a clock that is set forward empties nothing at once."""

RECORD = "trashed.json"
"""In each folder of the trash: the days counted so far, and when they were counted."""

_ENTRY = re.compile(r"([0-9a-f]{16})(-[0-9a-f]{8})?")
_DOOMED = ".removed-"
_DAY = 86400.0
_HOUR = 1 / 24


@dataclass(frozen=True)
class Trashed:
    """A folder of the trash: a run, or only the states of one. size: bytes; days: counted there so far."""

    path: Path
    size: int
    days: float

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.path.name[:16]

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole run, not only what it could go on from."""
        return _holds_run(self.path)


@dataclass(frozen=True)
class Trash:
    """The folder ``root``, made when something is moved there. What is not ours in it is passed over."""

    root: Path

    def entries(self) -> list[Trashed]:
        """What is in it, the last moved first."""
        found = [path for path in self.root.glob("*") if _ENTRY.fullmatch(path.name)]
        entries = [
            Trashed(path, size=_size(path), days=_Age.read(path).days)
            for path in found
            if path.is_dir() and not path.is_symlink()
        ]
        return sorted(entries, key=lambda entry: (entry.days, -_when(entry.path), entry.path.name))

    def take(self, run: Path) -> None:
        """Move the folder of a run here. By renaming, so that it needs no room on the disk.

        Raises:
            OSError, ValueError: it stays where it is.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        place = self._place(run.name)
        _move(run, place)
        _Age().write(place)
        (place / lock.NAME).unlink(missing_ok=True)

    def take_states(self, run: Path, states: Sequence[Path]) -> None:
        """Move the states of a run here, which stays where it is.

        Raises:
            OSError, ValueError: some stay where they are; those that do not are here.
        """
        place = self._place(run.name)
        place.mkdir(parents=True)
        try:
            for path in states:
                _move(path, place / path.name)
        finally:
            if any(place.iterdir()):
                _Age().write(place)
            else:
                place.rmdir()

    def restore(self, name: str, runs: Path) -> Trashed:
        """Give a run back to the folder ``runs``, or its states to the run; the last moved if ``name`` is "".

        Raises:
            ValueError: it is not here, or there is one in its place.
            OSError: it cannot be moved.
        """
        entries = self.entries()
        ours = [entry for entry in entries if entry.run == (name or entries[0].run)]
        if not ours:
            known = ", ".join(entry.run for entry in entries[:5])
            raise ValueError(
                f"there is no run {name!r} in the trash {self.root}. "
                + (f"The last moved there are: {known}." if known else "It is empty.")
            )
        target = runs / ours[0].run
        is_there = _holds_run(target)
        entry = next((entry for entry in ours if entry.is_whole != is_there), None)
        if entry is None:
            raise ValueError(
                f"the run {target} has been trained again since it was moved to the trash. Prune that "
                "one first, and restore then."
                if is_there
                else f"only states of the run {target.name} are in the trash, and the run itself is gone."
            )
        if entry.is_whole:
            if target.exists():
                raise ValueError(f"{target} is in the way: move it away, and restore then.")
            runs.mkdir(parents=True, exist_ok=True)
            entry.path.rename(target)
            (target / RECORD).unlink(missing_ok=True)
        else:
            _give_back(entry.path, target)
        return entry

    def empty(self, entries: Sequence[Trashed]) -> Iterator[tuple[Trashed, str | None]]:
        """Delete for good; each with None, or with the reason why it stays."""
        for entry in entries:
            try:
                remove_folder(entry.path)
                yield entry, None
            except OSError as problem:
                yield entry, str(problem)

    def age(self) -> list[Trashed]:
        """Count the time since the last look, and delete what has been here for `DAYS`; what that was."""
        for path in self.root.glob(f"{_DOOMED}*"):  # of an emptying that was killed
            shutil.rmtree(path, ignore_errors=True)
        now = time.time()
        over = []
        for entry in self.entries():
            age = _Age.read(entry.path)
            later = age.at(now)
            if later != age:
                later.write(entry.path)
            if later.days >= DAYS:
                over.append(entry)
        return [entry for entry, problem in self.empty(over) if problem is None]

    def _place(self, name: str) -> Path:
        """Where a run comes to lie: by its own name, so that it can be moved back by hand."""
        place = self.root / name
        return place.with_name(f"{name}-{secrets.token_hex(4)}") if place.exists() else place


@dataclass(frozen=True)
class _Age:
    """Days counted in the trash, and when that was, unix seconds; None: not looked at yet."""

    days: float = 0.0
    seen: float | None = None

    @classmethod
    def read(cls, folder: Path) -> _Age:
        """What is recorded; a missing or damaged record begins to count again."""
        try:
            return load_record(folder / RECORD, cls._parsed)
        except (OSError, ValueError):
            return cls()

    @classmethod
    def _parsed(cls, part: Part) -> _Age:
        days, seen = part["days"].number(), part["seen"].number()
        if not (0 <= days < math.inf and math.isfinite(seen)):
            raise ValueError("its days are none")
        return cls(days, seen)

    def at(self, now: float) -> _Age:
        """Counted on: nothing for a clock that was set back, and little for one that was set forward."""
        if self.seen is None:
            return _Age(self.days, now)
        passed = (now - self.seen) / _DAY
        if 0 <= passed < _HOUR:  # looking often writes nothing
            return self
        return _Age(self.days + min(max(passed, 0.0), MOST_AT_ONCE), now)

    def write(self, folder: Path) -> None:
        """Record it; on a full disk it stays as it was, and things stay longer."""
        age = self.at(time.time()) if self.seen is None else self
        try:
            data = json.dumps({"days": age.days, "seen": age.seen}).encode("ascii")
            write_atomically(folder / RECORD, data, root=folder)
        except OSError as error:
            log.warning("LoRA Loop: the age of %s in the trash is not counted: %s", folder, error)


def _holds_run(folder: Path) -> bool:
    """Whether a folder holds more of a run than the states that it could go on from."""
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return any(name not in (RECORD, lock.NAME) and not STATE.fullmatch(name) for name in names)


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise ValueError(
            f"it is on another drive than the trash {target.parent}; switch for_good on to delete it"
        ) from error


def remove_folder(folder: Path) -> None:
    """Delete all of a folder or, where a file is in use, nothing that could be taken for a whole one.

    Raises:
        OSError: it cannot be renamed, and is as it was; or some of its files stay.
    """
    doomed = folder.with_name(f"{_DOOMED}{secrets.token_hex(8)}")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _give_back(states: Path, run: Path) -> None:
    """Move the states of a run back into its folder, over none that it has now."""
    with lock.folder_lock(run):
        for path in states.iterdir():
            if path.name != RECORD and not (run / path.name).exists():
                path.rename(run / path.name)
    with suppress(OSError):
        shutil.rmtree(states)


def _size(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # another process empties it just now
                size += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118
    return size


def _when(folder: Path) -> float:
    """When it was last recorded, to order what is of one age."""
    return _Age.read(folder).seen or 0.0
