"""With how much memory a run gets by after it ran out of more, kept in its folder for the next time."""

from __future__ import annotations

from ..files.record import Part, read_record
from .run_folder import RunFolder, write_json

FILE, _BYTES = "memory.json", "enough"


def enough_bytes(folder: RunFolder) -> int | None:
    """Bytes to plan with at most, however many seem to be free; None where memory never ran out."""
    return read_record(folder.path / FILE, _parse)


def note_enough(folder: RunFolder, size: int) -> None:
    """Keep that so many bytes have to do. A disk that is full is told, and ends no training."""
    before = enough_bytes(folder)
    least = size if before is None else min(size, before)
    try:
        write_json(folder.path / FILE, {_BYTES: least}, folder.root)
    except OSError as error:
        folder.troubles.tell("what memory there was", error)


def _parse(part: Part) -> int:
    return part[_BYTES].whole()
