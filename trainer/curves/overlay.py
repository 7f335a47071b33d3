"""Several curves over each other in one plot, with a legend, drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ...base.lettering import Font, fitted, letters
from .loss_plot import BACKGROUND, GRID, GRID_LINES, TEXT, frame

COLOURS = (
    (255, 170, 60), (110, 210, 130), (100, 170, 255), (240, 110, 130), (190, 140, 255), (90, 215, 215),
    (235, 220, 90), (255, 140, 220), (170, 190, 110), (160, 170, 190),
)  # fmt: skip
MOST_NAMES = 12
"""Of a legend; more curves than colours have theirs in turn."""
GAP = 4
"""Pixels between its lines."""
ZERO = (112, 118, 130)
"""The colour of the line at 0."""
_ARROW = 7


class Line(NamedTuple):
    """One curve. Lines of the same name have one colour and one place in the legend."""

    name: str
    points: Sequence[tuple[float, float]]
    """(x, y); those that are not finite are left out."""
    errors: Sequence[float] = ()
    """Half the height of each point's interval; none by default."""


class _Axes:
    """Where a point lies on the plot. Both axes go from the lowest to the highest of ``points``."""

    def __init__(
        self, points: Sequence[tuple[float, float]], width: int, height: int, *, logarithmic: bool
    ) -> None:
        self._log, self.room = logarithmic, frame(width)
        self.right, self.below = width - self.room.right, height - self.room.bottom
        across = [self._scale(x) for x, _ in points]
        self._left, self._wide = min(across), (max(across) - min(across)) or 1.0
        self._low, self._high = _span([y for _, y in points])

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point; one above or below the plot lies on its edge."""
        up = min(max((y - self._low) / (self._high - self._low), 0.0), 1.0)
        over = (self._scale(x) - self._left) / self._wide
        left, top = self.room.left, self.room.top
        return left + (self.right - left) * over, top + (self.below - top) * (1 - up)

    def beyond(self, y: float) -> int:
        """Whether a value lies above the plot, 1, or below it, -1; else 0."""
        return 1 if y > self._high else -1 if y < self._low else 0

    def draw(self, pen: ImageDraw.ImageDraw, font: Font) -> None:
        """Lines and numbers."""
        for number in range(GRID_LINES):
            share = number / (GRID_LINES - 1)
            value, x = self._low + (self._high - self._low) * share, self._left + self._wide * share
            x = 10**x if self._log else x
            over, up = self.place(x, value)
            pen.line([(self.room.left, up), (self.right, up)], fill=GRID)
            pen.text((self.room.left - 6, up), f"{value:.3g}", fill=TEXT, font=font, anchor="rm")
            spot = over, self.below + self.room.bottom * 3 // 4
            pen.text(spot, f"{x:.3g}", fill=TEXT, font=font, anchor="ms")
        if self._low < 0 < self._high:
            up = self.below - (self.below - self.room.top) * -self._low / (self._high - self._low)
            pen.line([(self.room.left, up), (self.right, up)], fill=ZERO, width=2)

    def _scale(self, x: float) -> float:
        return math.log10(x) if self._log else x


def draw_lines(
    lines: Sequence[Line],
    title: str,
    width: int = 1024,
    height: int = 512,
    *,
    logarithmic: bool = False,
    mark: float | None = None,
) -> np.ndarray:
    """The plot as HWC uint8 RGB; the legend adds to its height.

    logarithmic: the x axis, all x above 0. mark: an x with a vertical line.
    Raises ValueError when there is no finite point to draw.
    """
    finite = [point for line in lines for point in line.points if all(map(math.isfinite, point))]
    if not finite:
        raise ValueError("There is no finite value to plot.")
    names = list(dict.fromkeys(line.name for line in lines))
    ends = [end for line in lines for end in _ends(line) if all(map(math.isfinite, end))]
    axes = _Axes([*finite, *ends], width, height, logarithmic=logarithmic)
    room, font = axes.room, letters(axes.room.text)
    rows = min(len(names), MOST_NAMES)
    image = Image.new(
        "RGB", (width, height + rows * (room.text + GAP) + room.text // 2), BACKGROUND
    )
    pen = ImageDraw.Draw(image)
    axes.draw(pen, font)
    if mark is not None:
        over, _ = axes.place(mark, 0.0)
        pen.line([(over, room.top), (over, axes.below)], fill=TEXT)
    for line in lines:
        _draw(pen, line, COLOURS[names.index(line.name) % len(COLOURS)], axes, font)
    said = fitted(title, axes.right - room.left, font)
    pen.text((room.left, room.text // 3), said, fill=TEXT, font=font)
    for row, name in enumerate(names[:rows]):
        is_cut = row == MOST_NAMES - 1 and len(names) > MOST_NAMES
        name = f"and {len(names) - row} more" if is_cut else name
        spot = (room.left, height + row * (room.text + GAP))
        shown = fitted(name, axes.right - room.left, font)
        pen.text(spot, shown, fill=COLOURS[row % len(COLOURS)], font=font)
    return np.asarray(image)


def _ends(line: Line) -> list[tuple[float, float]]:
    """Of the intervals of a line's points."""
    both = zip(line.points, line.errors, strict=bool(line.errors))
    return [(x, y + side * error) for (x, y), error in both for side in (-1, 1)]


def _draw(
    pen: ImageDraw.ImageDraw, line: Line, colour: tuple[int, int, int], axes: _Axes, font: Font
) -> None:
    errors = line.errors or [0.0] * len(line.points)
    shown = [
        (x, y, error)
        for (x, y), error in zip(line.points, errors, strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
    for x, y, error in shown:
        if error and math.isfinite(error):
            pen.line([axes.place(x, y - error), axes.place(x, y + error)], fill=colour)
        over, up = axes.place(x, y)
        if not axes.beyond(y):
            pen.ellipse([over - 3, up - 3, over + 3, up + 3], fill=colour)
    if len(shown) > 1:
        pen.line([axes.place(x, y) for x, y, _ in shown], fill=colour, width=2)
    for side in (1, -1):
        cut = [(x, y) for x, y, _ in shown if axes.beyond(y) == side]
        if cut:
            _mark_cut(pen, cut, side, colour, axes, font)


def _mark_cut(
    pen: ImageDraw.ImageDraw,
    points: Sequence[tuple[float, float]],
    side: int,
    colour: tuple[int, int, int],
    axes: _Axes,
    font: Font,
) -> None:
    """Arrows where values lie above (side 1) or below (-1) the plot, and how far the furthest goes."""
    for x, y in points:
        over, up = axes.place(x, y)
        base = up + side * 2 * _ARROW
        pen.polygon([(over, up), (over - _ARROW, base), (over + _ARROW, base)], fill=colour)
    x, y = max(points, key=lambda point: side * point[1])
    over, up = axes.place(x, y)
    is_right = 2 * over > axes.room.left + axes.right
    spot = over + (-2 if is_right else 2) * _ARROW, up
    anchor = ("r" if is_right else "l") + ("a" if side > 0 else "d")
    word = "up" if side > 0 else "down"
    pen.text(spot, f"{word} to {y:.3g}", fill=colour, font=font, anchor=anchor)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Bounds with a margin; a curve that runs away is cut three times the middle half beyond that half."""
    low, quarter, three, high = (float(v) for v in np.percentile(values, [0, 25, 75, 100]))
    reach = 3 * (three - quarter) or high - low
    low, high = max(low, quarter - reach), min(high, three + reach)
    margin = (high - low) * 0.05 or max(abs(high), 1e-6) * 0.05
    return low - margin, high + margin
