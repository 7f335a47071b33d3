"""The sheet of images that Curate Dataset leaves out, each with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ....base.sheet import Sheet
from ....trainer.dataset.contact_sheet import contact_sheet

MOST = 64
_THUMB = 192
_LABEL_HEIGHT = 28
_LETTERS = 30


def rejects_sheet(rejected: Sequence[tuple[Path, str]]) -> np.ndarray:
    """Thumbnails of the first 64 images, name and reason written over each; uint8 RGB."""
    shown = rejected[:MOST]
    sheet = Sheet.square(len(shown), _THUMB)
    pixels = contact_sheet([path for path, _ in shown], thumb=_THUMB)
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for place, (path, reason) in enumerate(shown):
        left, top = sheet.corner(place)
        bottom = top + _THUMB
        pen.rectangle((left, bottom - _LABEL_HEIGHT, left + _THUMB - 1, bottom - 1), (0, 0, 0))
        pen.text((left + 4, bottom - _LABEL_HEIGHT + 1), _lines(path.name, reason), (255, 255, 255))
    return np.asarray(picture)


def _lines(*texts: str) -> str:
    """Two lines that fit, in letters that Pillow's built-in font has."""
    plain = (text.encode("ascii", "replace").decode("ascii") for text in texts)
    return "\n".join(
        text if len(text) <= _LETTERS else f"{text[: _LETTERS - 3]}..." for text in plain
    )
