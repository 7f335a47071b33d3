"""What could not be written while a run goes on: a full disk ends no training, and nobody must miss it."""

from __future__ import annotations

import logging
from pathlib import Path

from ...base.write_errors import CannotWrite

log = logging.getLogger(__name__)


class Troubles:
    """Sentences by what is missing in a run's folder: for the log, and for the node until it is over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: dict[str, str] = {}
        self._full: dict[str, bool] = {}

    def tell(self, what: str, error: Exception, verb: str = "written") -> None:
        """``what`` could not be written."""
        log.warning("LoRA Loop: %s could not be %s: %s", what, verb, error)
        if isinstance(error, OSError) and not isinstance(error, CannotWrite):
            error = CannotWrite(self._folder, error)
        self._told[what] = f"{what[:1].upper()}{what[1:]} could not be {verb}: {error}."
        self._full[what] = isinstance(error, CannotWrite) and error.is_full

    def settle(self, what: str) -> None:
        """``what`` could be written after all."""
        self._told.pop(what, None)
        self._full.pop(what, None)

    @property
    def notes(self) -> tuple[str, ...]:
        """The sentences about what is still missing."""
        return tuple(self._told.values())

    @property
    def notice(self) -> str:
        """A few words to stand behind the line of every step; empty when all is well."""
        if not self._told:
            return ""
        reason = "disk full, " if any(self._full.values()) else ""
        return f" · {reason}not saved: {', '.join(self._told)}"
