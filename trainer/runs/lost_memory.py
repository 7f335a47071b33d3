"""How much of the memory that seemed to be free a run could not have, kept in its folder for the next time."""

from __future__ import annotations

from ..files.record import Part, read_record
from .run_folder import RunFolder, write_json

FILE, _BYTES = "memory.json", "unusable"


def unusable_bytes(folder: RunFolder) -> int:
    """Bytes to plan without; 0 where memory never ran out."""
    return read_record(folder.path / FILE, _parse) or 0


def note_unusable(folder: RunFolder, size: int) -> None:
    """Keep that so many bytes were not there. A disk that is full is told, and ends no training."""
    try:
        write_json(folder.path / FILE, {_BYTES: max(size, unusable_bytes(folder))}, folder.root)
    except OSError as error:
        folder.troubles.tell("what memory there was", error)


def _parse(part: Part) -> int:
    return part[_BYTES].whole()
