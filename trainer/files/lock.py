"""One process at a time in a folder: a lock of the operating system, which ends with its holder.

A killed process holds nothing any more, a sleeping one still holds it: nothing is judged by a clock. The
locked file lies outside of the folder and is never deleted, so that the folder can be renamed and removed
while it is held (Windows), and so that nobody ever holds a file that others can no longer see.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ...base.inside import inside
from ...base.write_errors import CannotWrite, writing
from .atomic import write_atomically
from .record import Part, load_record

log = logging.getLogger(__name__)

NAME = "lock.json"
"""A file in the folder with the name of its holder, only for sentences about it: the lock is elsewhere."""

LOCKS = ".locks"
"""Beside the folder: an empty file for each folder that was ever locked."""

PATIENCE, POLL = 0.2, 0.02
"""Seconds that a lock is waited for, and between attempts: `owner` holds it for a moment as well."""

_ONE_AT_A_TIME = threading.Lock()
"""Threads that ask who holds a folder would find each other: a page asks several things at once."""

_UNSUPPORTED = frozenset(("ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK"))
"""What drives say, of a network mostly, that know no locks."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made, until the end of the block.

    On a drive that knows no locks this is only a warning: two trainings of one run are rarer than
    such drives, and a lock that is a mere file would outlive a killed process. (Newer versions of
    filelock use such a file themselves where the drive does not implement locks at all.)

    Raises:
        ValueError: somebody holds it, also this very process; says who.
        CannotWrite: the folder cannot be written.
    """
    path = inside(_lock_file(folder), folder.parent, follow=True)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True)
    lock = FileLock(path)  # a new one each time: one and the same can be taken twice
    try:
        with _ONE_AT_A_TIME:
            lock.acquire(PATIENCE, POLL)
    except Timeout:
        raise ValueError(
            f"Another ComfyUI ({_holder(folder)}) is training this very run in {folder}. Wait for it, "
            "or stop it there."
        ) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and not _is_unsupported(error):
            raise CannotWrite(path, error) from error
        log.warning(
            "LoRA Loop: the drive of %s knows no file locks (%s). See to it yourself that no other "
            "ComfyUI trains the same run there.", folder, error,
        )  # fmt: skip
    try:
        with suppress(OSError):  # on a full disk as well a run can be removed
            _sign(folder)
        yield
    finally:
        with suppress(OSError):  # a name that stays means nothing without the lock
            (folder / NAME).unlink(missing_ok=True)
        lock.release()


def owner(folder: Path) -> str | None:
    """Who holds the folder; None if nobody does, or if its drive cannot tell."""
    path = _lock_file(folder)
    if not path.is_file():
        return None
    try:
        with _ONE_AT_A_TIME, FileLock(path).acquire(PATIENCE, POLL):
            return None
    except Timeout:
        return _holder(folder)
    except (OSError, NotImplementedError):
        return None


def _lock_file(folder: Path) -> Path:
    return folder.parent / LOCKS / f"{folder.name}.lock"


def _is_unsupported(error: Exception) -> bool:
    number = error.errno if isinstance(error, OSError) else errno.ENOSYS
    return errno.errorcode.get(number or 0) in _UNSUPPORTED


def _sign(folder: Path) -> None:
    since = time.strftime("%Y-%m-%d %H:%M")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
    write_atomically(folder / NAME, json.dumps(holder).encode("ascii"), root=folder)


def _holder(folder: Path) -> str:
    def said(part: Part) -> str:
        host, since = part["host"].text(), part["since"].text()
        return f"process {part['pid'].whole()} on {host}, since {since}"

    try:
        return load_record(folder / NAME, said)
    except (FileNotFoundError, ValueError):  # it is just being taken
        return "which one is not known"
