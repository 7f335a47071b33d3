"""What it means that something cannot be written: the one place that makes sentences of the system's errors."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOM = "Free some space on its disk (Clear Cache shows what lies there), or let Runs delete old runs (empty trash, or prune with for_good)"
_PERMISSIONS = "Check the permissions of the folder, and whether another program has the file open, and queue again"
_GONE = "Check that the drive is connected and the folder is there, and queue again"
_PATH = "Look what lies at that path, move it away, and queue again"

_MEANING = {
    "ENOSPC": ("the disk is full", _ROOM),
    "EDQUOT": ("the disk quota of this user is used up", _ROOM),
    "EROFS": ("the disk is read-only", "Make it writable, or use a folder on another disk"),
    "EACCES": ("this process may not write there", _PERMISSIONS),
    "EPERM": ("this process may not write there", _PERMISSIONS),
    "EBUSY": ("another program uses it", _PERMISSIONS),
    "ENAMETOOLONG": (
        "the name or the path is too long for this disk",
        "Choose a shorter name, or a folder with a shorter path",
    ),
    "EMFILE": ("too many files are open", "Restart ComfyUI, or raise the limit (ulimit -n)"),
    "ENFILE": ("too many files are open", "Close other programs and queue again"),
    "EFBIG": (
        "the file would be larger than this disk or this user may have files",
        "Use another disk (FAT32 holds no file above 4 GB), or raise the limit (ulimit -f)",
    ),
    "EIO": ("the disk itself reports an error", "Check the disk; use another one meanwhile"),
    "ENOMEM": ("the system has no memory left", "Close other programs and queue again"),
    "ENOTDIR": ("a part of the path is a file and no folder", _PATH),
    "EISDIR": ("a folder lies in its place", _PATH),
    "EEXIST": ("something lies in its place", _PATH),
    "ELOOP": ("the links in the path lead round in a circle", _PATH),
    "EINVAL": ("this disk does not take the name", "Choose a name of letters, digits, - and _"),
    "EILSEQ": ("this disk does not take the name", "Choose a name of letters, digits, - and _"),
    "ENOENT": ("a folder of the path is gone", _GONE),
    "ESTALE": ("the network drive is gone", _GONE),
    "ENODEV": ("the drive is gone", _GONE),
    "ENXIO": ("the drive is gone", _GONE),
    "ETIMEDOUT": ("the drive does not answer", _GONE),
    "EHOSTDOWN": ("the drive does not answer", _GONE),
}  # fmt: skip
"""By the system's name of the error: what it means, and what to do. Numbers differ between systems."""

_FULL = ("ENOSPC", "EDQUOT")


class CannotWrite(OSError):
    """Says what cannot be written, where, why, how much is free and what to do; a full stop may follow.

    ``errno`` and ``strerror`` are the system's.
    """

    def __init__(self, path: Path, error: OSError, what: str = "") -> None:
        said, advice = _explained(path, error)
        super().__init__(error.errno or 0, said)
        self.original = error
        named = f"{what} {path}" if what else str(path)
        self._sentence = f"{named} cannot be written: {said}. {advice}"

    def __str__(self) -> str:
        return self._sentence

    @property
    def is_full(self) -> bool:
        """Whether there is no room left."""
        return _name(self) in _FULL


@contextmanager
def writing(path: Path, what: str = "") -> Iterator[None]:
    """In this block ``path`` is written, ``what`` it is stands before it.

    Raises:
        CannotWrite: in place of the system's own error.
    """
    try:
        yield
    except CannotWrite as error:  # of a block inside, which knows the file, but not what it is for
        if not what:
            raise
        raise CannotWrite(path, error.original, what) from error.original
    except OSError as error:
        raise CannotWrite(path, error, what) from error


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "")


def _explained(path: Path, error: OSError) -> tuple[str, str]:
    """Why in the system's words; what to do, and what it means."""
    said = error.strerror or (str(error) if error.errno is None else os.strerror(error.errno))
    name = _name(error)
    if name not in _MEANING:
        return said or type(error).__name__, f"{_PERMISSIONS}; {_free(path)} are free there"
    meaning, advice = _MEANING[name]
    room = f", with {_free(path)} free" if name in _FULL else ""
    return said, f"{advice}: {meaning}{room}"


def _free(path: Path) -> str:
    """How much room the disk of a path has, in words."""
    for place in (path, *path.parents):
        try:
            return f"{shutil.disk_usage(place).free / 1e9:.2f} GB"
        except (OSError, ValueError):  # not made yet, or no name at all
            continue
    return "an unknown amount"
