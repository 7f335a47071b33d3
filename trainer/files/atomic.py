"""Writing a file whole or not at all, and only below the folder that is meant."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...base.inside import inside
from ...base.write_errors import writing

PARTIALS = ".*.tmp"
"""Pattern of what a killed process leaves half-written in a folder."""


@contextmanager
def partial_file(folder: Path, target: Path | None = None, *, root: Path) -> Iterator[Path]:
    """A path in ``folder``, which is made, to write to; rename it in the block, or it is removed.

    Raises:
        CannotWrite: the folder, or ``target`` in it, cannot be written.
        OutsideError: ``folder``, its links resolved, does not lie below ``root``; nothing is made.
    """
    partial = _partial(folder)
    inside(partial, root)
    with _made(partial, target or folder):
        yield partial


def _partial(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}.tmp"  # short: the name may be at the limit


@contextmanager
def _made(partial: Path, target: Path) -> Iterator[None]:
    """The folder of ``partial``, which lies where it may; what is left of that is removed."""
    with writing(target):
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield
        finally:
            with suppress(OSError):  # the error of the block is the one to tell
                partial.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, *, root: Path, durable: bool = False) -> None:
    """Replace the file at ``path`` by one with ``data``; its folder is made. A reader never sees a part.

    With ``durable`` the bytes are on the disk before they get the name, so that not even a power cut
    leaves an empty file; for what cannot be made again.

    Raises:
        CannotWrite: the file cannot be written, in a sentence; what was there stays.
        OutsideError: ``path``, its links resolved, does not lie below ``root``; nothing is made.
    """
    inside(path, root)
    partial = _partial(path.parent)
    with _made(partial, path):
        partial.write_bytes(data)
        if durable:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        partial.replace(path)


def sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` onto the disk, where the system can do that (Windows cannot)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
