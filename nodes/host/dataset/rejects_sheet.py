"""The sheet of images that Curate Dataset leaves out, each with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....trainer.dataset.contact_sheet import contact_sheet

MOST = 64


def rejects_sheet(rejected: Sequence[tuple[Path, str]]) -> np.ndarray:
    """Thumbnails of the first 64 images, name and reason below each; uint8 RGB."""
    shown = rejected[:MOST]
    labels = [f"{path.name}\n{reason}" for path, reason in shown]
    return contact_sheet([path for path, _ in shown], labels=labels)
