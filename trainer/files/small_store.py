"""Small values by key in one SQLite file: a file for each of thousands of images takes longer than most of what is remembered of them."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType

from ...base.inside import inside
from ...base.write_errors import writing
from .store import Entry, is_unnoted

log = logging.getLogger(__name__)

NAME = "small.sqlite"

_TABLE = "CREATE TABLE IF NOT EXISTS small (key TEXT PRIMARY KEY, kind TEXT, used REAL, value BLOB)"
_SOUND = (
    "(typeof(key), typeof(kind), typeof(used), typeof(value)) = ('text', 'text', 'real', 'blob')"
)
"""A damaged row may hold anything."""
_DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
_CHECKED = 8
_WAIT_SECONDS = 30.0
_FLUSH_SECONDS = 1.0
_FLUSH_VALUES = 256
_PAGE = 1 << 15  # the probabilities of an image are 43 KB


class SmallStore:
    """Bytes by key below ``root``, of some kinds; what `Store` is to tensors of megabytes.

    A key names everything that its value depends on, so a value is never changed, only made, read, or
    removed. A damaged one, or a damaged file, is dropped and made again. Saved values are written together:
    at the latest a second later, when the next one comes, and on leaving the ``with`` block. May be
    used from several threads, and by several processes.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._path = self.root / NAME
        self._file: sqlite3.Connection | None = None
        self._opened_as: os.stat_result | None = None
        self._lock = threading.RLock()
        self._new: dict[str, tuple[str, float, bytes]] = {}
        self._used: set[str] = set()
        self._gone: set[str] = set()
        self._since = 0.0

    def __enter__(self) -> SmallStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            try:
                self.flush()
            except OSError as problem:
                if error is None:
                    raise
                log.warning("LoRA Loop: %s", problem)
            finally:
                self._close()

    def load(self, key: str) -> bytes | None:
        """The value of ``key``; None if absent or damaged."""
        with self._lock:
            if key in self._new:
                return self._new[key][-1]
            rows = self._read(f"SELECT used, value FROM small WHERE key = ? AND {_SOUND}", key)
            if not rows or key in self._gone:
                return None
            ((used, sealed),) = rows
            if sealed[:_CHECKED] != _checksum(key, sealed[_CHECKED:]):
                log.warning("A value in %s is damaged and will be made again", self._path)
                self._gone.add(key)
                return None
            if is_unnoted(used):
                self._used.add(key)
            return sealed[_CHECKED:]

    def save(self, kind: str, key: str, value: bytes) -> None:
        """Keep a value.

        Raises:
            CannotWrite: the file cannot be written; says what to do.
            OutsideError: it would lie elsewhere.
        """
        with self._lock:
            if not self._new:
                self._since = time.monotonic()
            self._new[key] = (kind, time.time(), value)
            if len(self._new) >= _FLUSH_VALUES or time.monotonic() > self._since + _FLUSH_SECONDS:
                self.flush()

    def entries(self) -> Iterator[Entry]:
        """Every value; the place of an entry is its key."""
        with self._lock:
            self.flush()
            rows = self._read(f"SELECT kind, key, length(value), used FROM small WHERE {_SOUND}")
        yield from (Entry(*row) for row in rows)

    def remove(self, kind: str, place: Path | str) -> bool:
        """Delete the value of a key, with the next writing."""
        with self._lock:
            self._new.pop(os.fspath(place), None)
            self._gone.add(os.fspath(place))
        return True

    def flush(self) -> None:
        """Write what is new, and forget what is gone.

        Raises:
            CannotWrite, OutsideError: see `save`.
        """
        with self._lock:
            if self._new or (self._gone and self._path.exists()):
                with writing(self.root, "The cache"), _as_os_error():
                    try:
                        self._write()
                    except _DAMAGE as error:
                        if _may_be_whole(error):
                            raise
                        self._discard(error)
                        self._write()
            elif self._used:
                with suppress(*_DAMAGE):  # a folder that is read-only may stay so
                    self._write()
            self._new, self._used, self._gone = {}, set(), set()

    def _write(self) -> None:
        if self._file is not None and not self._is_there():
            self._close()
        file = self._opened()
        now = time.time()
        rows = [
            (key, kind, used, _checksum(key, value) + value)
            for key, (kind, used, value) in self._new.items()
        ]
        with _transaction(file):
            file.executemany("DELETE FROM small WHERE key = ?", [(key,) for key in self._gone])
            file.executemany("INSERT OR REPLACE INTO small VALUES (?, ?, ?, ?)", rows)
            file.executemany(
                "UPDATE small SET used = ? WHERE key = ?", [(now, key) for key in self._used]
            )

    def _read(self, query: str, *values: str) -> list[tuple]:
        """The rows of a query; none without a file, or where it cannot be read."""
        if self._file is None and not self._path.exists():
            return []
        try:
            return self._opened().execute(query, values).fetchall()
        except _DAMAGE as error:
            if _may_be_whole(error):
                log.warning("%s cannot be read: %s", self._path, error)
            else:
                self._discard(error)
        return []

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            inside(self._path, self.root, follow=True)
            self.root.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(
                self._path, _WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._opened_as = self._path.stat()
            try:
                self._file.execute(f"PRAGMA page_size = {_PAGE}")
                self._file.execute("PRAGMA auto_vacuum = FULL")
                self._file.execute(_TABLE)
            except sqlite3.OperationalError as error:
                if not _may_be_whole(error):  # else a folder that is read-only is read
                    raise
        return self._file

    def _is_there(self) -> bool:
        """Whether what is open is still the file of that name: somebody may have deleted it."""
        opened = self._opened_as
        try:
            return opened is not None and os.path.samestat(self._path.stat(), opened)
        except OSError:
            return False

    def _discard(self, error: Exception) -> None:
        """Delete a damaged file: all of it can be made again."""
        log.warning("%s is removed, and what it holds made again: %s", self._path, error)
        self._close()
        try:
            self._path.unlink(missing_ok=True)
        except OSError as problem:
            log.warning("%s stays: %s", self._path, problem)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _may_be_whole(error: Exception) -> bool:
    """Whether the file is only out of reach now: SQLite calls a damaged schema an error of operation as well."""
    return isinstance(error, sqlite3.OperationalError) and any(
        words in str(error)
        for words in ("locked", "full", "readonly", "unable to open", "disk I/O error")
    )


@contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; another process waits for its turn."""
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        if file.in_transaction:
            file.execute("ROLLBACK")
        raise


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


def _checksum(key: str, value: bytes) -> bytes:
    """Of both: a damaged file may give the value of another key."""
    found = blake2b(key.encode(), digest_size=_CHECKED)
    found.update(value)
    return found.digest()
