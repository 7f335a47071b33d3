"""What was read from the cache once and stays in memory, so that no step reads the disk for it again."""

from __future__ import annotations

import time

from torch import Tensor

from ..files.store import TOUCH_AFTER_SECONDS, Store

RESIDENT_BYTES = 2 * 1024**3
"""Entries are kept until they are so many bytes; those that come later are read every time."""


class Resident:
    """Reads a store. Its tensors are shared: nobody may change them."""

    def __init__(self, store: Store, room: int = RESIDENT_BYTES) -> None:
        self._store, self._room = store, room
        self._kept: dict[tuple[str, str], dict[str, Tensor]] = {}
        self._noted: dict[tuple[str, str], float] = {}

    def load(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """The tensors of ``key`` on the CPU; None if they were not kept and are absent or damaged."""
        entry = kind, key
        found = self._kept.get(entry)
        if found is not None:
            self._note_use(entry)
            return found
        found = self._store.load(kind, key)
        size = sum(tensor.nbytes for tensor in found.values()) if found else 0
        if found is not None and size <= self._room:
            self._room -= size
            self._kept[entry], self._noted[entry] = found, time.monotonic()
        return found

    def _note_use(self, entry: tuple[str, str]) -> None:
        """Tell the store now and then, so that its file does not pass for unused."""
        if time.monotonic() - self._noted[entry] > TOUCH_AFTER_SECONDS:
            self._store.has(*entry)
            self._noted[entry] = time.monotonic()
