"""Where images lie on a sheet: equal cells, row by row."""

from __future__ import annotations

import math
from typing import NamedTuple


class Sheet(NamedTuple):
    """A sheet of cells. All numbers are pixels but ``columns``; ``gap`` lies right of and below each cell.

    ``left`` and ``top`` are the room before the first cell.
    """

    columns: int
    width: int
    height: int
    gap: int = 0
    left: int = 0
    top: int = 0

    @classmethod
    def square(cls, count: int, side: int, most: int = 8) -> Sheet:
        """About as many rows as columns of square cells, and no more columns than ``most``."""
        return cls(min(most, math.ceil(math.sqrt(count))), side, side)

    def size(self, count: int) -> tuple[int, int]:
        """(width, height) of a sheet of so many cells."""
        return self._at(self.columns, math.ceil(count / self.columns))

    def corner(self, place: int) -> tuple[int, int]:
        """(left, top) of a cell, counted along the rows."""
        row, column = divmod(place, self.columns)
        return self._at(column, row)

    def centred(self, place: int, size: tuple[int, int]) -> tuple[int, int]:
        """(left, top) of something of this (width, height) in the middle of its cell."""
        left, top = self.corner(place)
        return left + (self.width - size[0]) // 2, top + (self.height - size[1]) // 2

    def _at(self, column: int, row: int) -> tuple[int, int]:
        return (
            self.left + column * (self.width + self.gap),
            self.top + row * (self.height + self.gap),
        )
