"""What is known of files by path, size and time, so that unchanged ones are not read again."""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from .atomic import write_atomically
from .record import Part, read_record


class FileStamp(NamedTuple):
    """What a file system says about a file without opening it: bytes, nanoseconds since 1970, which file.

    ``inode`` is another one when files of one size and time were swapped; 0 where there is none.
    """

    size: int
    mtime_ns: int
    inode: int = 0

    @classmethod
    def of(cls, stat: os.stat_result) -> "FileStamp":
        """From what `stat` says of a file."""
        inode = 0 if os.name == "nt" else stat.st_ino  # Windows tells it in some calls alone
        return cls(stat.st_size, stat.st_mtime_ns, inode)


log = logging.getLogger(__name__)

_FORMAT = 3
_RACY_NS = 2_000_000_000
_DIGEST = re.compile(r"[0-9a-z ]{0,128}")


class FileFacts(NamedTuple):
    """The content digest of a file, and (width, height) after EXIF rotation for an image."""

    digest: str
    width: int
    height: int


class FileIndex:
    """Facts by path, trusted while it is the same file of the same size and modification time.

    Kept in one JSON file at ``path`` (None: in memory only), read when first asked and written by
    ``save``. May be used from several threads.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._folders: dict[str, dict[str, list]] | None = None
        self._changed = False

    def lookup(self, path: Path | str, stamp: FileStamp) -> FileFacts | None:
        """The facts of the file at ``path`` if it still has ``stamp``, else None."""
        return self.lookup_in(*os.path.split(path), stamp)

    def lookup_in(self, folder: str, name: str, stamp: FileStamp) -> FileFacts | None:
        """The same for who has the two parts of the path."""
        with self._lock:
            entry = self._table().get(folder, {}).get(name)
        known = len(FileStamp._fields)
        if entry is None or entry[:known] != list(stamp):
            return None
        return FileFacts(*entry[known:])

    def remember(
        self, path: Path | str, stamp: FileStamp, facts: FileFacts, read_ns: int | None = None
    ) -> None:
        """Keep facts that were read at ``read_ns`` (``time.time_ns()`` before reading).

        A file that was changed less than two seconds before it was read is not remembered: another
        change within the clock's grain would not show. None: nobody else writes the file.
        """
        if read_ns is not None and abs(read_ns - stamp.mtime_ns) < _RACY_NS:
            return
        folder, name = os.path.split(path)
        entry = [*stamp, *facts]
        with self._lock:
            entries = self._table().setdefault(folder, {})
            self._changed |= entries.get(name) != entry
            entries[name] = entry

    def digest(self, path: Path, read: Callable[[Path], str]) -> str:
        """What ``read`` makes of a file's contents; they are read again only when its stat changed."""
        stamp = FileStamp.of(path.stat())
        facts = self.lookup(path, stamp)
        if facts is None:
            read_at = time.time_ns()
            facts = FileFacts(read(path), 0, 0)
            self.remember(path, stamp, facts, read_at)
        return facts.digest

    def forget(self, path: Path | str) -> None:
        """Drop what is known of the file at ``path``."""
        folder, name = os.path.split(path)
        with self._lock:
            self._changed |= self._table().get(folder, {}).pop(name, None) is not None

    def move(self, names: Mapping[Path, Path]) -> None:
        """Let files that got other names keep their facts; names may be swapped."""
        with self._lock:
            table = self._table()
            taken: dict[Path, list] = {}
            for old, new in names.items():
                folder, name = os.path.split(old)
                if old != new and (entry := table.get(folder, {}).pop(name, None)) is not None:
                    taken[new] = entry
            for new, entry in taken.items():
                folder, name = os.path.split(new)
                table.setdefault(folder, {})[name] = entry
                self._changed = True

    def keep_only(self, folder: Path | str, names: Collection[str]) -> None:
        """Drop what is known of files of ``folder`` that are not among ``names``."""
        kept = frozenset(names)
        with self._lock:
            entries = self._table().get(os.fspath(folder), {})
            gone = [name for name in entries if name not in kept]
            for name in gone:
                del entries[name]
            self._changed |= bool(gone)

    def forget_folders(self, root: Path) -> None:
        """Drop what is known of folders at or below ``root`` that are no longer there."""
        top = os.fspath(root)
        below = os.path.join(top, "")  # noqa: PTH118 - a Path has no trailing separator
        with self._lock:
            table = self._table()
            for folder in list(table):
                if (folder == top or folder.startswith(below)) and not Path(folder).is_dir():
                    del table[folder]
                    self._changed = True

    def save(self) -> None:
        """Write the index, whole or not at all, if anything is new; a failure is only logged."""
        with self._lock:
            if not self._changed or self.path is None:
                return
            folders = {folder: entries for folder, entries in self._table().items() if entries}
            content = {"format": _FORMAT, "saved": time.time(), "folders": folders}
            try:
                data = json.dumps(content).encode("ascii")
                write_atomically(self.path, data, root=self.path.parent)
                self._changed = False
            except OSError as error:
                log.warning("The file index %s could not be written: %s", self.path, error)

    def _table(self) -> dict[str, dict[str, list]]:
        if self._folders is None:
            self._folders = _read(self.path) if self.path else {}
        return self._folders


def _read(path: Path) -> dict[str, dict[str, list]]:
    return read_record(path, _folders_of) or {}


def _folders_of(part: Part) -> dict[str, dict[str, list]]:
    if part["format"].value != _FORMAT:
        log.info("A file index has another format and is rebuilt.")
        return {}
    folders = part["folders"].fields()
    for folder in folders.values():
        for name, entry in folder.fields().items():
            if not _is_entry(entry.value):
                raise ValueError(f"the entry of {name} is none")
    return part["folders"].value


def _is_entry(entry: object) -> bool:
    """Size, time, inode, digest, and width and height, which are 0 of what is no image."""
    if not isinstance(entry, list) or [type(v) for v in entry] != [int, int, int, str, int, int]:
        return False
    size, _, _, digest, width, height = entry
    return size >= 0 and width >= 0 and height >= 0 and bool(_DIGEST.fullmatch(digest))
