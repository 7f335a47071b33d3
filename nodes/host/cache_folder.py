"""The pack's cache folder: the store of tensors, and what is known of files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...trainer.files.digests import file_digest
from ...trainer.files.index import FileFacts, FileIndex, FileStamp
from ...trainer.files.store import Store
from .folders import cache_root


@contextmanager
def file_index() -> Iterator[FileIndex]:
    """What is known of files by path, size and time; saved on leaving."""
    index = FileIndex(cache_root() / "files.json")
    yield index
    index.save()


@contextmanager
def cache_store(root: Path | None = None) -> Iterator[Store]:
    """The store at ``root`` (None: the pack's cache), with its index of whole entries, saved on leaving."""
    root = cache_root() if root is None else root
    index = FileIndex(root / "entries.json")
    try:
        yield Store(root, index)
    finally:
        index.save()


def content_digest(path: Path) -> str:
    """The content digest of a file; a large one is read again only when its stat changed."""
    stat = path.stat()
    stamp = FileStamp(stat.st_size, stat.st_mtime_ns)
    with file_index() as index:
        facts = index.lookup(path, stamp)
        if facts is None:
            read_at = time.time_ns()
            facts = FileFacts(file_digest(path), 0, 0)
            index.remember(path, stamp, facts, read_at)
    return facts.digest
