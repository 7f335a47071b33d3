"""Renaming many files at once. Owns the journal by which a kill at any moment can be finished, and undone.

Every file goes from its old name to a name in between and from there to its new one, first all of them
away and then all of them there. So names may be swapped and may change only their case, and the
journal's stage says of each file which two names it can have.
"""

import json
import os
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ...base.inside import inside
from ...base.shortened import in_lines
from ...base.write_errors import writing
from ..dataset.file_names import same_name, stem, suffix
from ..dataset.folders import Listing, list_folder
from ..files.atomic import sync_folder, write_atomically
from ..files.record import Part, read_record

Stage = Literal["leaving", "arriving", "arrived", "undone"]
"""Old name or between; between or new name; new name; old name."""

_FORMAT = 1
_NUMBERED = re.compile(r"n([0-9]{8,})-")
_LISTED = 10


class Move(NamedTuple):
    """A file that gets another name in its folder; ``size`` is its bytes."""

    folder: Path
    old: str
    new: str
    size: int


class Renaming:
    """One renaming and its journal, a JSON file that names every pair of names."""

    def __init__(self, journal: Path, stage: Stage, mark: str, moves: Sequence[Move]) -> None:
        self.journal = journal
        self.stage: Stage = stage
        self.moves = tuple(moves)
        self._mark = mark

    @classmethod
    def begin(cls, journals: Path, moves: Sequence[Move]) -> "Renaming":
        """Write the journal of a renaming in the folder ``journals``; no file is renamed yet.

        Raises:
            ValueError: a file is missing, changed, or in the way.
            OSError: the journal cannot be written.
        """
        mark = f"lora-loop-{secrets.token_hex(3)}-"
        renaming = cls(journals / _next_name(journals), "leaving", mark, moves)
        renaming._check(to_new=True)
        renaming._enter("leaving")
        return renaming

    @property
    def is_interrupted(self) -> bool:
        """Whether some files may be between two names."""
        return self.stage in ("leaving", "arriving")

    @property
    def folders(self) -> list[Path]:
        """The folders that hold the files."""
        return list(dict.fromkeys(move.folder for move in self.moves))

    def forward(self) -> None:
        """Give every file its new name, from wherever a kill left it.

        Raises:
            ValueError: a file is missing, changed, or in the way: nothing is renamed now.
            OSError: a file cannot be renamed; some are between two names.
        """
        self._check(to_new=True)
        if self.stage == "leaving":
            self._leave("old")
            self._enter("arriving")
        if self.stage == "arriving":
            self._arrive("new")
            self._enter("arrived")

    def backward(self) -> None:
        """Give every file its old name, from wherever it is; raises as ``forward`` does."""
        self._check(to_new=False)
        if self.stage == "arrived":
            self._enter("arriving")
        if self.stage == "arriving":
            self._leave("new")
            self._enter("leaving")
        if self.stage == "leaving":
            self._arrive("old")
            self._enter("undone")

    def _between(self, move: Move) -> str:
        """A name nobody else has. It keeps the ending and the order, so that an image and its caption
        are a dataset meanwhile, too."""
        return self._mark + move.new

    def _leave(self, name: Literal["old", "new"]) -> None:
        for move in self.moves:
            between = move.folder / self._between(move)
            if not os.path.lexists(between):
                _rename(move.folder / getattr(move, name), between)

    def _arrive(self, name: Literal["old", "new"]) -> None:
        for move in self.moves:
            between = move.folder / self._between(move)
            if os.path.lexists(between):
                _rename(between, move.folder / getattr(move, name))

    def _enter(self, stage: Stage) -> None:
        """Write down the stage, once the names that it builds on are on the disk."""
        for folder in self.folders:
            sync_folder(folder)
        places = {folder: place for place, folder in enumerate(self.folders)}
        content = {
            "format": _FORMAT,
            "stage": stage,
            "mark": self._mark,
            "folders": [os.fspath(folder) for folder in places],
            "files": [[places[m.folder], m.old, m.new, m.size] for m in self.moves],
        }
        data = json.dumps(content, indent=0).encode("ascii")
        write_atomically(self.journal, data, root=self.journal.parent, durable=True)
        sync_folder(self.journal.parent)
        self.stage = stage

    def _check(self, to_new: bool) -> None:
        """Compare what is there with what the journal says; ValueError names every difference."""
        problems = []
        moves: defaultdict[Path, list[Move]] = defaultdict(list)
        for move in self.moves:
            moves[move.folder].append(move)
        for folder, ours in moves.items():
            listing = list_folder(folder)
            here = {self._name_now(move, listing): move for move in ours}
            problems += [
                f"{folder / name} {'changed' if name in listing.files else 'is gone'}"
                for name, move in here.items()
                if name not in listing.files or listing.files[name].size != move.size
            ]
            others = [name for name in (*listing.files, *listing.folders) if name not in here]
            goals = {same_name(move.new if to_new else move.old) for move in ours}
            problems += [
                f"{folder / name} is in the way" for name in others if same_name(name) in goals
            ]
            if self.stage == "arrived":
                stems = {stem(move.new) for move in ours}
                problems += [f"{folder / name} is new" for name in others if stem(name) in stems]
        if problems:
            raise ValueError(
                "Files are not as the renaming left them. Nothing was renamed now; bring them back, "
                "or move what is new or in the way elsewhere, and queue again. Or delete the undo "
                f"file {self.journal} to leave all as it is:\n  "
                + "\n  ".join(in_lines(problems, _LISTED))
            )

    def _name_now(self, move: Move, listing: Listing) -> str:
        between = self._between(move)
        if self.is_interrupted and between in listing.files:
            return between
        return move.new if self.stage in ("arriving", "arrived") else move.old


def last_renaming(journals: Path, folders: Collection[Path]) -> Renaming | None:
    """The newest renaming that has files in one of ``folders``, or None."""
    wanted = frozenset(folders)
    found = (r for r in _all(journals) if not wanted.isdisjoint(r.folders))
    return next(found, None)


def forget_older(renaming: Renaming) -> None:
    """Delete the journals of earlier renamings in the same folders: only the last can be undone."""
    for other in _all(renaming.journal.parent):
        is_older = _order(other.journal) < _order(renaming.journal)
        if is_older and not set(other.folders).isdisjoint(renaming.folders):
            other.journal.unlink(missing_ok=True)


def _next_name(journals: Path) -> str:
    """The name of a journal that is newer than all that are there.

    It begins with a number, so that no clock decides which is the newest; behind the letter, because
    names of old versions begin with the date. The time is for people.
    """
    numbers = (_NUMBERED.match(path.name) for path in journals.glob("*.json"))
    number = 1 + max((int(match[1]) for match in numbers if match), default=0)
    return f"n{number:08}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"


def _all(journals: Path) -> Iterator[Renaming]:
    """Every renaming that is written down, newest first; the damaged are named in the log."""
    for path in sorted(journals.glob("*.json"), key=_order, reverse=True):
        found = read_record(path, partial(_renaming, path))
        if found is not None:
            yield found


def _order(journal: Path) -> tuple[int, str]:
    """By number, and before the first of these by the names of old versions."""
    match = _NUMBERED.match(journal.name)
    return int(match[1]) if match else 0, journal.name


def _renaming(path: Path, part: Part) -> Renaming | None:
    """The renaming of a journal; None of another format."""
    if part["format"].value != _FORMAT:
        return None
    stage, stages = part["stage"].text(), {name: name for name in get_args(Stage)}
    if stage not in stages:
        raise ValueError(f"{stage!r} is no stage of a renaming")
    folders = [Path(folder.text()) for folder in part["folders"]]
    if not all(folder.is_absolute() for folder in folders):
        raise ValueError("a folder is no full path")
    moves = []
    for row in part["files"]:
        place, old, new, size = row.exactly(4)
        folder = folders[place.whole(most=len(folders) - 1)]
        move = Move(folder, _plain(old), _plain(new), size.whole())
        if suffix(move.old) != suffix(move.new):
            raise ValueError(f"{new.place} gives a file another ending")
        moves.append(move)
    if not moves:
        raise ValueError("it names no file")
    return Renaming(path, stages[stage], _plain(part["mark"]), moves)


def _plain(part: Part) -> str:
    """A name in a folder, never a path."""
    name = part.text()
    if name in ("", ".", "..") or not set(name).isdisjoint("/\\\0") or Path(name).name != name:
        raise ValueError(f"{part.place} is no name of a file")
    return name


def _rename(source: Path, target: Path) -> None:
    """Rename a file, never over another one."""
    if os.path.lexists(target):  # POSIX would replace it
        raise FileExistsError(17, "it is in the way", os.fspath(target))
    with writing(target):
        source.rename(inside(target, source.parent))
