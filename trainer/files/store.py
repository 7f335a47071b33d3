"""A folder of immutable tensor files named by content. Owns their layout, atomic writing and checking."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ...base.write_errors import writing
from .atomic import write_atomically
from .checksum import BLANK, damage, sealed
from .digests import digest
from .index import FileFacts, FileIndex, FileStamp

__all__ = ["Entry", "Store", "digest"]

log = logging.getLogger(__name__)

TOUCH_AFTER_SECONDS = 3600.0
"""A use is noted at most so often; what is in use now was touched within about this time."""

_SUFFIX = ".safetensors"
_WHOLE = FileFacts("", 0, 0)


class Entry(NamedTuple):
    """What is kept: its path as text or its key, its bytes, and its last use in seconds since 1970."""

    kind: str
    place: str
    size: int
    used: float


class Store:
    """Tensor files below ``root``: ``<kind>/<first two digits>/<key>.safetensors``.

    A key names everything that its contents depend on (``digest``), so a file is never changed, only
    made, read, or removed. The modification time is the time of last use. ``index`` remembers which
    files were found whole, so that ``has`` opens each only once.
    """

    def __init__(self, root: Path, index: FileIndex | None = None) -> None:
        self.root = Path(root)
        self._root = os.fspath(root)
        self._index = FileIndex(None) if index is None else index

    def path(self, kind: str, key: str) -> Path:
        """Where the file for ``key`` is or would be."""
        return Path(self._place(kind, key))

    def _place(self, kind: str, key: str) -> str:
        """The same as text: a Path for each of ten thousand files takes a second, joining takes a tenth."""
        return f"{self._root}{os.sep}{kind}{os.sep}{key[:2]}{os.sep}{key}{_SUFFIX}"

    def has(self, kind: str, key: str) -> bool:
        """Whether a whole file is there. A damaged one is removed: False.

        A file that the index knows is not opened; another is read and its checksum compared.
        """
        stamp = _stamp(self._place(kind, key))
        if stamp is None:
            return False
        if self._index.lookup_in(kind, key, stamp) is None:
            if not self._read(kind, key):
                return False
        elif not is_unnoted(stamp.mtime_ns / 1e9):
            return True
        self._note_use(kind, key, stamp)
        return True

    def load(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """The tensors of ``key``, with storage of their own on the CPU; None if absent or damaged.

        The checksum is always compared. A damaged file is removed, so that it is made again.
        """
        stamp = _stamp(self._place(kind, key))
        tensors = self._read(kind, key)
        if stamp is not None and tensors is not None:
            self._note_use(kind, key, stamp)
        return tensors

    def save(
        self,
        kind: str,
        key: str,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        """Write ``tensors`` under ``key``, whole or not at all, and return the file's path.

        Raises:
            CannotWrite: the folder cannot be written; says what to do.
            OutsideError: a link in it leads elsewhere.
        """
        path = self.path(kind, key)
        owned = {  # storages of their own: the format has no views
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        data = sealed(save_tensors(owned, {**(metadata or {}), "checksum": BLANK}))
        with writing(self.root, "The cache"):
            write_atomically(path, data, root=self.root)
        stamp = _stamp(path)
        if stamp is not None:
            self._index.remember(_known_as(kind, key), stamp, _WHOLE)
        return path

    def entries(self) -> Iterator[Entry]:
        """Every file below the folders of the kinds, what interrupted writing left included.

        The index forgets what is gone.
        """
        for kind in _folders(self.root):
            keys = []
            for group in _folders(kind.path):
                for file in _scanned(group.path):
                    keys.append(file.name.removesuffix(_SUFFIX))
                    stamp = _stamp(file.path)
                    if stamp is not None:  # else somebody has just removed it
                        used = stamp.mtime_ns / 1e9
                        yield Entry(kind.name, file.path, stamp.size, used)
            self._index.keep_only(kind.name, keys)

    def remove(self, kind: str, place: Path | str) -> bool:
        """Delete a file; False when it may not be deleted, as when a program on Windows has it open."""
        path = Path(place)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.info("The cache file %s stays: %s", path, error)
            return False
        self._index.forget(_known_as(kind, path.name.removesuffix(_SUFFIX)))
        return True

    def _read(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """The tensors if they are those that were saved; a damaged file is removed."""
        place = self._place(kind, key)
        try:
            with open(place, "rb", buffering=0) as file:  # noqa: PTH123
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            log.warning("Cache file %s cannot be read and is made again: %s", place, error)
            return None
        reason = damage(data)
        if reason is None:
            try:
                return load_tensors(data)
            except (SafetensorError, ValueError) as error:
                reason = str(error)
        log.warning("Cache file %s is removed and will be made again: %s", place, reason)
        self.remove(kind, place)
        return None

    def _note_use(self, kind: str, key: str, stamp: FileStamp) -> None:
        """Set the time of last use, not where the folder is read-only; the file was found whole."""
        if is_unnoted(stamp.mtime_ns / 1e9):
            place = self._place(kind, key)
            try:
                os.utime(place)
                stamp = _stamp(place) or stamp
            except OSError as error:
                log.debug("Could not note the use of %s: %s", place, error)
        self._index.remember(_known_as(kind, key), stamp, _WHOLE)


def is_unnoted(used: float) -> bool:
    """Whether a time of last use, in seconds since 1970, is long ago, or the clock was set back."""
    return abs(time.time() - used) > TOUCH_AFTER_SECONDS


def _known_as(kind: str, key: str) -> str:
    """The name of an entry in the index: shorter than its path, and the same when the cache is moved."""
    return os.path.join(kind, key)  # noqa: PTH118


def _stamp(path: Path | str) -> FileStamp | None:
    try:
        return FileStamp.of(os.stat(path))  # noqa: PTH116
    except OSError:  # not there, or not to be seen
        return None


def _folders(parent: Path | str) -> list[os.DirEntry[str]]:
    return [entry for entry in _scanned(parent) if entry.is_dir(follow_symlinks=False)]


def _scanned(folder: Path | str) -> list[os.DirEntry[str]]:
    """What lies in a folder; nothing where it is gone or may not be read."""
    try:
        return list(os.scandir(folder))
    except OSError:
        return []
