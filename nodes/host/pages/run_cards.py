"""What a page shows of every run: folders that nothing was added to are not read again."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple

from ....trainer.runs.run_list import Run, find_run, in_order

_SETTLED = 2.0
"""Seconds after which a folder's time tells of every later change: file systems count that coarsely."""


class Card(NamedTuple):
    """A run and what costs reading to know. model: the file of its base model, or ""."""

    run: Run
    status: str
    model: str


class RunCards:
    """All runs below a folder, as often as a page asks.

    A folder's own time changes whenever a file of the run is added, replaced or removed, and with that
    whatever a card shows. A run that is being trained is read every time, since its table of steps grows.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, Card]] = {}
        self._reading = threading.Lock()  # several pages may ask at once

    def cards(self, root: Path) -> list[Card]:
        """Those of the runs below ``root``, the latest first, as `list_runs` orders them."""
        with self._reading:
            found = {path: card for path in root.glob("*") if (card := self._card(path))}
            self._known = {path: known for path, known in self._known.items() if path in found}
        runs = in_order(card.run for card in found.values())
        return [found[run.path] for run in runs]

    def _card(self, path: Path) -> Card | None:
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:  # it was just removed
            return None
        known, card = self._known.get(path, (None, None))
        if known == stamp and card is not None and not card.run.owner:
            return card
        run = find_run(path.parent, path.name)
        if run is None:
            return None
        card = Card(run, run.status, run.base_model)
        if abs(time.time() - stamp / 1e9) > _SETTLED:
            self._known[path] = stamp, card
        return card
