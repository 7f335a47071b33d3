"""Images on one sheet in rows and columns that say what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ....base.lettering import fitted
from ....base.sheet import Sheet

GREY, DARK, LIGHT = (128, 128, 128), (24, 26, 30), (220, 224, 230)
PIXELS = 16_000_000
"""A sheet has no more than about so many: as an IMAGE, each costs 12 bytes."""
LETTERS = 28
"""Letters of a font that would fill the width of a cell."""
GAP = 2


def grid(
    pictures: Mapping[tuple[int, int], Image.Image],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str = "",
) -> Image.Image:
    """The images by (row, column), fitted into equal cells, labels above and on the left.

    A place without an image is grey. A title stands above all, cut to the width.
    """
    width, height = _cell(list(pictures.values()), len(rows) * len(columns))
    font = _font(width)
    left, top = _margins([*rows, *columns], rows, font)
    above = top if title else 0
    cells = Sheet(len(columns), width, height, GAP, left, above + top)
    sheet = Image.new("RGB", cells.size(len(rows) * len(columns)), DARK)
    pen = ImageDraw.Draw(sheet)
    if title:
        shown = fitted(title, sheet.width - top // 2, font)
        pen.text((top // 4, top // 4), shown, fill=LIGHT, font=font)
    for column, label in enumerate(columns):
        pen.text((cells.corner(column)[0], above + top // 4), label, fill=LIGHT, font=font)
    for row, label in enumerate(rows):
        first = row * len(columns)
        pen.text((top // 4, cells.corner(first)[1]), label, fill=LIGHT, font=font)
        for column in range(len(columns)):
            picture = pictures.get((row, column)) or Image.new("RGB", (width, height), GREY)
            padded = ImageOps.pad(picture, (width, height), color=GREY)
            sheet.paste(padded, cells.corner(first + column))
    return sheet


def one_size(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Images fitted into the largest width and height among them, on grey."""
    size = max(p.width for p in pictures), max(p.height for p in pictures)
    return [ImageOps.pad(p, size, color=GREY) if p.size != size else p for p in pictures]


def _cell(pictures: Sequence[Image.Image], count: int) -> tuple[int, int]:
    """The size of a cell, shrunk where the sheet would be too large."""
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    shrink = min(1.0, math.sqrt(PIXELS / (count * width * height)))
    return max(1, int(width * shrink)), max(1, int(height * shrink))


def _margins(
    labels: Sequence[str], rows: Sequence[str], font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> tuple[int, int]:
    """(room on the left, room above) for the labels."""
    top = max(font.getbbox(label)[3] for label in labels)
    left = max(font.getbbox(label)[2] for label in rows)
    return int(left + top), int(2 * top)


def _font(width: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font, in proportion to a cell; before Pillow 10.1 it has one size."""
    try:
        return ImageFont.load_default(max(10, width // LETTERS * 2))
    except TypeError:
        return ImageFont.load_default()
