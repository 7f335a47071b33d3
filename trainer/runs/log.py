"""The log of a run: what the pack says while it is trained, kept in its folder for later questions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...base.inside import inside

NAME = "run.log"

_PACK = logging.getLogger((__package__ or "").removesuffix(".trainer.runs"))
"""The logger above all of the pack's own."""


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Add the pack's log lines, and how the block ended if by an error, to the log in ``folder``."""
    path = inside(folder / NAME, folder, follow=True)
    handler = _Handler(path, encoding="utf-8", errors="replace", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _PACK.addHandler(handler)
    try:
        yield
    except BaseException as error:
        # ComfyUI reports it to the user; here it is only kept.
        trace = None if isinstance(error, ValueError) else (type(error), error, error.__traceback__)
        text = "ended by %s: %s"
        arguments = (type(error).__name__, error)
        handler.handle(
            logging.LogRecord(_PACK.name, logging.ERROR, __file__, 0, text, arguments, trace)
        )
        raise
    finally:
        _PACK.removeHandler(handler)
        with suppress(OSError):  # what is still in its buffer
            handler.close()


class _Handler(logging.FileHandler):
    """Ends with the first line that cannot be written: no log is worth a training."""

    _ended = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._ended:
            return
        try:
            super().emit(record)
        except OSError:  # it could not be opened
            self._ended = True

    def handleError(self, record: logging.LogRecord) -> None:
        """Told of a line that could not be written, which logging would print with its traceback."""
        self._ended = True
