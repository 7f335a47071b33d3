"""What is known of picture files by path, size and time, so that an unchanged folder is not read again."""

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

from .atomic import write_atomically
from .dataset import FileStamp

log = logging.getLogger(__name__)

_FORMAT = 1
_RACY_NS = 2_000_000_000


class FileFacts(NamedTuple):
    """The content digest of a file, and (width, height) after EXIF rotation for a picture."""

    digest: str
    width: int
    height: int


class FileIndex:
    """Facts by absolute path, trusted while size and modification time are the same.

    Kept in one JSON file at ``path`` (None: in memory only), read when first asked and written by
    ``save``. A file that was changed less than two seconds before it was read is not remembered:
    another change within the clock's grain would not show. May be used from several threads.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._entries: dict[str, list] | None = None
        self._changed = False

    def lookup(self, path: Path, stamp: FileStamp) -> FileFacts | None:
        """The facts of the file at ``path`` if it still has ``stamp``, else None."""
        with self._lock:
            entry = self._table().get(os.fspath(path))
        if entry is None or entry[:2] != list(stamp):
            return None
        return FileFacts(*entry[2:])

    def remember(self, path: Path, stamp: FileStamp, facts: FileFacts, read_ns: int) -> None:
        """Keep facts that were read at ``read_ns`` (``time.time_ns()`` before reading)."""
        if abs(read_ns - stamp.mtime_ns) < _RACY_NS:
            return
        with self._lock:
            self._table()[os.fspath(path)] = [*stamp, *facts]
            self._changed = True

    def save(self) -> None:
        """Write the index, whole or not at all, if anything is new; a failure is only logged."""
        with self._lock:
            if not self._changed or self.path is None:
                return
            content = {"format": _FORMAT, "saved": time.time(), "files": self._table()}
            try:
                write_atomically(self.path, json.dumps(content).encode("ascii"))
                self._changed = False
            except OSError as error:
                log.warning("The file index %s could not be written: %s", self.path, error)

    def _table(self) -> dict[str, list]:
        if self._entries is None:
            self._entries = _read(self.path) if self.path else {}
        return self._entries


def _read(path: Path) -> dict[str, list]:
    try:
        content = json.loads(path.read_bytes())
        if content["format"] == _FORMAT and all(map(_is_entry, content["files"].values())):
            return content["files"]
        log.info("The file index %s has another format and is made anew.", path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("The file index %s is damaged and is made anew: %s", path, error)
    return {}


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 5
        and [type(v) for v in entry] == [int, int, str, int, int]
    )
