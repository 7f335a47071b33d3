"""A folder of immutable tensor files named by content. Owns their layout, atomic writing and checking."""

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from .atomic import write_atomically
from .digests import digest

__all__ = ["Store", "digest"]

log = logging.getLogger(__name__)

_TOUCH_AFTER_SECONDS = 3600.0


class Store:
    """Tensor files below ``root``: ``<kind>/<first two digits>/<key>.safetensors``.

    A key names everything that its contents depend on (``digest``), so a file is never changed, only
    made, read, or removed when damaged. The modification time is the time of last use.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: str) -> Path:
        """Where the file for ``key`` is or would be."""
        return self.root / kind / key[:2] / f"{key}.safetensors"

    def has(self, kind: str, key: str) -> bool:
        """Whether a whole file is there; reads its header only. A truncated one is removed: False."""
        path = self.path(kind, key)
        try:
            if _is_whole(path):
                _touch(path)
                return True
        except FileNotFoundError:
            return False
        _discard(path, "it is truncated or damaged")
        return False

    def load(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """The tensors of ``key``, with storage of their own on the CPU; None if absent or damaged.

        A damaged file is removed, so that it is made anew.
        """
        path = self.path(kind, key)
        try:
            tensors = load_tensors(path.read_bytes())
        except FileNotFoundError:
            return None
        except SafetensorError as error:
            _discard(path, str(error))
            return None
        _touch(path)
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
            OSError: the folder cannot be written.
        """
        path = self.path(kind, key)
        owned = {  # storages of their own: the format has no views
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        write_atomically(path, save_tensors(owned, dict(metadata or {})))
        return path


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            return False
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return False
    return size == 8 + length + max(ends, default=0)


def _touch(path: Path) -> None:
    """Note the use of a file; at most once an hour, and not where the folder is read-only."""
    try:
        if time.time() - path.stat().st_mtime > _TOUCH_AFTER_SECONDS:
            os.utime(path)
    except OSError as error:
        log.debug("Could not note the use of %s: %s", path, error)


def _discard(path: Path, reason: str) -> None:
    log.warning("Cache file %s is removed and will be made again: %s", path.name, reason)
    path.unlink(missing_ok=True)
