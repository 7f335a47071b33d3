"""A plot of the loss over the steps, drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ...base.lettering import letters
from .measurement import QUANTILE_95, Measurement
from .smoothing import SPAN, smooth

BACKGROUND, GRID, TEXT = (24, 26, 30), (52, 56, 64), (200, 204, 212)
RAW, SMOOTH, VALIDATION = (70, 92, 122), (255, 170, 60), (110, 210, 130)
TIMESTEP = (150, 120, 200)
GRID_LINES = 5


class Frame(NamedTuple):
    """The room around the curves, and the height of letters, in pixels."""

    left: int
    right: int
    top: int
    bottom: int
    text: int


def frame(width: int) -> Frame:
    """Letters that can be read where the plot is shown a third as large."""
    text = max(12, width // 26)
    return Frame(4 * text, text, 2 * text, 2 * text, text)


def draw_loss(
    losses: Sequence[float],
    width: int = 1024,
    height: int = 512,
    validations: Sequence[Measurement] = (),
    timesteps: Sequence[int] = (),
) -> np.ndarray:
    """The plot as HWC uint8 RGB; validations have a scale of their own.

    timesteps: how many samples had one in each equal part of them, drawn as bars in a corner.

    Raises ValueError when there is no finite loss to draw.
    """
    finite = [value for value in losses if math.isfinite(value)]
    if not finite:
        raise ValueError(
            "There is no finite loss to plot: the run has no step, or all were skipped."
        )
    average = smooth(losses, max(1, len(losses) // 20))
    low, high = _range(finite)
    image = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    room, font = frame(width), letters(frame(width).text)

    def place(step: int, value: float) -> tuple[float, float]:
        x = room.left + (width - room.left - room.right) * (step / max(1, len(losses) - 1))
        y = room.top + (height - room.top - room.bottom) * (1 - (value - low) / (high - low))
        return x, min(max(y, room.top), height - room.bottom)

    for line in range(GRID_LINES):
        value = low + (high - low) * line / (GRID_LINES - 1)
        _, y = place(0, value)
        draw.line([(room.left, y), (width - room.right, y)], fill=GRID)
        draw.text((room.left - 6, y), f"{value:.3g}", fill=TEXT, font=font, anchor="rm")
        step = round((len(losses) - 1) * line / (GRID_LINES - 1))
        below = (place(step, low)[0], height - room.bottom // 4)
        draw.text(below, str(step + 1), fill=TEXT, font=font, anchor="ms")
    for values, colour, stroke in ((losses, RAW, 1), (average, SMOOTH, 2)):
        points = [place(i, v) for i, v in enumerate(values) if math.isfinite(v)]
        if len(points) > 1:
            draw.line(points, fill=colour, width=stroke)
        x, y = points[-1]
        draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
    title = f"loss, {len(losses)} steps: {smooth(losses, SPAN)[-1]:.4f}"  # the number that the node says
    draw.text((room.left, room.text // 3), title, fill=TEXT, font=font)
    finite_ones = [one for one in validations if math.isfinite(one.difference)]
    if finite_ones:
        _draw_validations(draw, finite_ones, len(losses), (width, height))
    if sum(timesteps):
        _draw_timesteps(draw, timesteps, (width, height))
    return np.asarray(image)


def _draw_validations(
    draw: ImageDraw.ImageDraw, found: Sequence[Measurement], steps: int, size: tuple[int, int]
) -> None:
    """Differences to step 0 with their 95 % intervals, the scale from the lowest to the highest or 0."""
    (width, height), room = size, frame(size[0])
    ends = [
        (one.difference - QUANTILE_95 * one.error, one.difference + QUANTILE_95 * one.error)
        for one in found
    ]
    low, high = min(0.0, *(end for end, _ in ends)), max(0.0, *(end for _, end in ends))

    def place(step: int, value: float) -> tuple[float, float]:
        x = room.left + (width - room.left - room.right) * ((step - 1) / max(1, steps - 1))
        share = (value - low) / ((high - low) or 1.0)
        return x, room.top + (height - room.top - room.bottom) * (1 - share)

    for one, (bottom, top) in zip(found, ends, strict=True):
        draw.line([place(one.step, bottom), place(one.step, top)], fill=VALIDATION)
        x, y = place(one.step, one.difference)
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=VALIDATION)
    draw.line([place(one.step, one.difference) for one in found], fill=VALIDATION, width=2)
    font, edge = letters(room.text), width - room.right - 4
    above, below = room.top + 2, height - room.bottom - 4
    title = f"validation {found[-1]}"
    draw.text((edge, room.text // 3), title, fill=VALIDATION, font=font, anchor="ra")
    draw.text((edge, above), f"{high:+.4f}", fill=VALIDATION, font=font, anchor="ra")
    draw.text((edge, below), f"{low:+.4f}", fill=VALIDATION, font=font, anchor="rs")


def _draw_timesteps(
    draw: ImageDraw.ImageDraw, counts: Sequence[int], size: tuple[int, int]
) -> None:
    """Bars for equal parts of the timesteps, the least noisy on the left, the highest as high as its box."""
    (width, height), room = size, frame(size[0])
    right, top = width - room.right - room.text, room.top + 2 * room.text
    box = [right - width // 4, top, right, top + height // 4]
    draw.rectangle([box[0] - 4, top - 4, right + 4, box[3] + 4], fill=BACKGROUND, outline=GRID)
    wide = (right - box[0]) / len(counts)
    for place, count in enumerate(counts):
        low, high = box[0] + wide * place, box[0] + wide * (place + 1)
        up = box[3] - (box[3] - top) * count / max(counts)
        if count:
            draw.rectangle([low, up, max(low, high - 1), box[3]], fill=TIMESTEP)
    below, font = (right, box[3] + room.text // 2), letters(room.text * 2 // 3)
    draw.text(below, "timesteps drawn, least noise first", fill=TEXT, font=font, anchor="ra")


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Bounds that leave out the extreme 1 %, so that one spike does not flatten the curve."""
    low, high = (float(v) for v in np.percentile(values, [0, 99]))
    margin = (high - low) * 0.05 or max(abs(high), 1e-6) * 0.05
    return max(low - margin, 0.0) if low >= 0 else low - margin, high + margin
