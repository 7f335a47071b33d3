"""The contact sheet of a dataset: thumbnails in rows."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...base.sheet import Sheet
from .images import thumbnail

log = logging.getLogger(__name__)

_MAX_THUMBS = 64
_GREY = 40
_BROKEN_COLOUR = (120, 30, 30)


def contact_sheet(
    paths: Sequence[Path],
    columns: int | None = None,
    thumb: int = 192,
    make: Callable[[Path, int], np.ndarray] | None = None,
) -> np.ndarray:
    """Thumbnails of up to 64 images, evenly picked, as uint8 RGB [rows * thumb, columns * thumb, 3].

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
    sheet = Sheet.square(count, thumb)
    if columns is not None:
        sheet = Sheet(min(columns, count), thumb, thumb)
    width, height = sheet.size(count)
    pixels = np.full((height, width, 3), _GREY, dtype=np.uint8)
    for place in range(count):
        path = paths[place * len(paths) // count]
        try:
            tile = (make or thumbnail)(path, thumb)
        except ValueError as error:
            log.warning("No thumbnail: %s", error)
            tile = np.full((thumb, thumb, 3), _BROKEN_COLOUR, dtype=np.uint8)
        left, top = sheet.centred(place, (tile.shape[1], tile.shape[0]))
        pixels[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return pixels
