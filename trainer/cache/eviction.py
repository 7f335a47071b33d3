"""Making room in the cache: what was not used for long goes first, and what goes is counted."""

import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..files.store import TOUCH_AFTER_SECONDS, Entry, Store

_IN_USE_SECONDS = 2 * TOUCH_AFTER_SECONDS
"""Used within this time: it may belong to what runs now, here or in another program."""

_PARTIAL = ".tmp"


@dataclass
class Cleared:
    """Files and bytes removed by kind, files that could not be, and what is left."""

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


def prune(store: Store, limit_bytes: int, keep: Iterable[Path]) -> Cleared:
    """Remove what was used longest ago until the store is no larger than ``limit_bytes``.

    The files ``keep``, and those used within the last two hours, stay even if they are more.
    """
    entries = list(store.entries())
    done = Cleared(left_bytes=sum(entry.size for entry in entries))
    if done.left_bytes <= limit_bytes:
        return done
    kept = frozenset(map(os.fspath, keep))
    newest = time.time() - _IN_USE_SECONDS
    for entry in sorted(entries, key=lambda entry: entry.used):
        if done.left_bytes <= limit_bytes or entry.used > newest:
            break
        if entry.place not in kept:
            _remove(store, entry, done)
    return done


def clear(
    store: Store, kinds: Collection[str] | None, unused_days: float = 0, *, dry_run: bool = False
) -> Cleared:
    """Remove the files of ``kinds`` (None: of all) that were not used for ``unused_days``.

    What another program is just writing stays. ``dry_run`` only counts.
    """
    now = time.time()
    done = Cleared()
    for entry in store.entries():
        done.left_bytes += entry.size
        wait = unused_days * 86400
        if entry.place.endswith(_PARTIAL):
            wait = max(wait, _IN_USE_SECONDS)
        wanted = kinds is None or entry.kind in kinds
        if wanted and (not wait or now - entry.used >= wait):
            if dry_run:
                done.count(entry)
            else:
                _remove(store, entry, done)
    return done


def _remove(store: Store, entry: Entry, done: Cleared) -> None:
    if store.remove(entry.kind, Path(entry.place)):
        done.count(entry)
        done.left_bytes -= entry.size
    else:
        done.in_use += 1
