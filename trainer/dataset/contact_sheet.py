"""The contact sheet of a dataset: thumbnails in rows."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ...base.lettering import fitted, letters
from ...base.sheet import Sheet
from .images import thumbnail

log = logging.getLogger(__name__)

_MAX_THUMBS = 64
_GREY = 40
_BROKEN_COLOUR = (120, 30, 30)
_TEXT_COLOUR = (220, 220, 220)
_LINE = 16  # pixels of a line of text


def contact_sheet(
    paths: Sequence[Path],
    columns: int | None = None,
    thumb: int = 192,
    make: Callable[[Path, int], np.ndarray] | None = None,
    labels: Sequence[str] = (),
) -> np.ndarray:
    """Thumbnails of up to 64 images, evenly picked, as uint8 RGB [rows * cell, columns * thumb, 3].

    A cell is as high as the thumbnail, and 16 pixels more for each line of the longest of ``labels``,
    which stand below the images.

    Without ``columns`` about as many as rows, at most 8. An image that cannot be read is a dark red square. ``make`` gives a thumbnail where it is known
    already, and raises ValueError where there is none.

    Raises:
        ValueError: there are no images, or no columns.
    """
    if not paths or (columns is not None and columns < 1):
        raise ValueError(
            f"A contact sheet needs images and columns, got {len(paths)} and {columns}."
        )
    count = min(len(paths), _MAX_THUMBS)
    across = Sheet.square(count, thumb).columns if columns is None else min(columns, count)
    lines = max((label.count("\n") + 1 for label in labels), default=0)
    sheet = Sheet(across, thumb, thumb + lines * _LINE)
    width, height = sheet.size(count)
    pixels = np.full((height, width, 3), _GREY, dtype=np.uint8)
    picked = [place * len(paths) // count for place in range(count)]
    for place, number in enumerate(picked):
        path = paths[number]
        try:
            tile = (make or thumbnail)(path, thumb)
        except ValueError as error:
            log.warning("No thumbnail: %s", error)
            tile = np.full((thumb, thumb, 3), _BROKEN_COLOUR, dtype=np.uint8)
        left, top = sheet.centred(place, (tile.shape[1], tile.shape[0] + lines * _LINE))
        pixels[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    if labels:
        _write([labels[number] for number in picked], sheet, thumb, pixels)
    return pixels


def _write(labels: Sequence[str], sheet: Sheet, thumb: int, pixels: np.ndarray) -> None:
    """Write each label below its thumbnail."""
    picture = Image.fromarray(pixels)
    pen, font = ImageDraw.Draw(picture), letters(_LINE - 3)
    for place, label in enumerate(labels):
        left, top = sheet.corner(place)
        for number, line in enumerate(label.split("\n")):
            at = left + 2, top + thumb + number * _LINE
            pen.text(at, fitted(line, thumb - 4, font), _TEXT_COLOUR, font)
    pixels[:] = np.asarray(picture)
