"""Making room in the cache: what was not used for long goes first, and what goes is counted."""

import math
import os
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..files.small_store import SmallStore
from ..files.store import TOUCH_AFTER_SECONDS, Entry, Store

Stores = Sequence[Store | SmallStore]

_IN_USE_SECONDS = 2 * TOUCH_AFTER_SECONDS
"""Used within this time: it may belong to what runs now, here or in another program."""

_PARTIAL = ".tmp"


@dataclass
class Cleared:
    """Files, or values of a small store, and bytes removed by kind, files that could not be, and what is left."""

    removed: dict[str, tuple[int, int]] = field(default_factory=dict)
    in_use: int = 0
    left_bytes: int = 0

    @property
    def files(self) -> int:
        """How many files went."""
        return sum(files for files, _ in self.removed.values())

    @property
    def freed(self) -> int:
        """How many bytes went."""
        return sum(size for _, size in self.removed.values())

    def count(self, entry: Entry) -> None:
        """Add a file that went."""
        files, size = self.removed.get(entry.kind, (0, 0))
        self.removed[entry.kind] = (files + 1, size + entry.size)


def prune(stores: Stores, limit_bytes: int, keep: Iterable[Path]) -> Cleared:
    """Remove what was used longest ago until the stores together are no larger than ``limit_bytes``.

    The files ``keep``, and those used within the last two hours, stay even if they are more.
    """
    entries = _entries(stores)
    done = Cleared(left_bytes=sum(entry.size for entry, _ in entries))
    if done.left_bytes <= limit_bytes:
        return done
    kept = frozenset(map(os.fspath, keep))
    now = time.time()
    for entry, store in sorted(entries, key=lambda each: -_age(each[0], now)):
        if done.left_bytes <= limit_bytes or _age(entry, now) < _IN_USE_SECONDS:
            break
        if entry.place not in kept:
            _remove(store, entry, done)
    return done


def clear(
    stores: Stores, kinds: Collection[str] | None, unused_days: float = 0, *, dry_run: bool = False
) -> Cleared:
    """Remove the files and values of ``kinds`` (None: of all) that were not used for ``unused_days``.

    What another program is just writing stays, and with ``unused_days`` what was used in the future by a
    clock that was set back: how long ago that was is not known. ``dry_run`` only counts.
    """
    now = time.time()
    done = Cleared()
    for entry, store in _entries(stores):
        done.left_bytes += entry.size
        wait, age = unused_days * 86400, now - entry.used
        if entry.place.endswith(_PARTIAL):
            wait, age = max(wait, _IN_USE_SECONDS), _age(entry, now)
        wanted = kinds is None or entry.kind in kinds
        if wanted and (not wait or age >= wait):
            if dry_run:
                done.count(entry)
            else:
                _remove(store, entry, done)
    return done


def _entries(stores: Stores) -> list[tuple[Entry, Store | SmallStore]]:
    return [(entry, store) for store in stores for entry in store.entries()]


def _age(entry: Entry, now: float) -> float:
    """Seconds since the last use, infinite for one in the future: the clock was set back since then.

    Whatever is used after that has a time of the present, so it was used longest ago.
    """
    return now - entry.used if entry.used < now + _IN_USE_SECONDS else math.inf


def _remove(store: Store | SmallStore, entry: Entry, done: Cleared) -> None:
    if store.remove(entry.kind, entry.place):
        done.count(entry)
        done.left_bytes -= entry.size
    else:
        done.in_use += 1
