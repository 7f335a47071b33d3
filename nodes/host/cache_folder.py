"""The pack's cache folder: the store of tensors, and what is known of files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...trainer.files.digests import file_digest
from ...trainer.files.index import FileIndex
from ...trainer.files.small_store import SmallStore
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


def small_store() -> SmallStore:
    """What is remembered of single images: tags and measurements."""
    return SmallStore(cache_root())


def content_digest(path: Path) -> str:
    """The content digest of a model's file, which is read again only when its stat changed.

    Models have an index of their own: that of the images may be long.
    """
    index = FileIndex(cache_root() / "models.json")
    found = index.digest(path, file_digest)
    index.save()
    return found
