"""Drawings in the manner of anime: ink lines, flat fills, cel shading, screentone; made from a seed."""

from __future__ import annotations

import colorsys
import math
import random
from typing import Literal, get_args

import cv2
import numpy as np
from PIL import Image, ImageDraw

Scenery = Literal["white", "flat", "gradient", "screentone", "room", "night"]
SCENERIES: tuple[Scenery, ...] = get_args(Scenery)

Colour = tuple[int, int, int]
Point = tuple[float, float]

_SMOOTH = 3  # drawn this many times larger, for smooth lines
_INK: Colour = (25, 20, 30)


def drawing(
    seed: int,
    size: tuple[int, int] = (480, 640),
    scenery: Scenery = "white",
    scenery_seed: int | None = None,
) -> np.ndarray:
    """A figure before a background, uint8 RGB; the same arguments make the same image.

    ``scenery_seed`` draws the background of another image: two frames of one scene.
    """
    large = (size[0] * _SMOOTH, size[1] * _SMOOTH)
    canvas = Image.new("RGB", large, (255, 255, 255))
    _background(canvas, scenery, random.Random(seed if scenery_seed is None else scenery_seed))
    _Figure(canvas, random.Random(f"figure {seed}")).draw()
    return cv2.resize(np.asarray(canvas), size, interpolation=cv2.INTER_AREA)


def figure_on(picture: np.ndarray, seed: int) -> np.ndarray:
    """A figure drawn over an image: with other seeds, images that share their background."""
    small = Image.fromarray(picture)
    canvas = small.resize((small.width * _SMOOTH, small.height * _SMOOTH))
    _Figure(canvas, random.Random(f"figure {seed}")).draw()
    return cv2.resize(np.asarray(canvas), small.size, interpolation=cv2.INTER_AREA)


def _background(canvas: Image.Image, scenery: Scenery, draw: random.Random) -> None:
    width, height = canvas.size
    pen = ImageDraw.Draw(canvas)
    if scenery == "flat":
        pen.rectangle((0, 0, width, height), _colour(draw, 0.3, 0.95))
    elif scenery == "gradient":
        ends = np.array([_colour(draw, 0.5, 0.95), _colour(draw, 0.4, 0.6)], np.float64)
        share = np.linspace(0, 1, height)[:, None]
        column = ends[0] * (1 - share) + ends[1] * share
        canvas.paste(Image.fromarray(column.astype(np.uint8)[:, None]).resize(canvas.size))
    elif scenery == "screentone":
        _screentone(canvas, draw.randint(5, 8), 0.35)
    elif scenery == "room":
        _room(pen, width, height, draw)
    elif scenery == "night":
        pen.rectangle((0, 0, width, height), (8, 8, 20))
        for _ in range(draw.randint(20, 60)):
            x, y, r = draw.random() * width, draw.random() * height, draw.randint(2, 6)
            pen.ellipse((x - r, y - r, x + r, y + r), (220, 220, 180))


def _room(pen: ImageDraw.ImageDraw, width: int, height: int, draw: random.Random) -> None:
    floor = height * draw.uniform(0.6, 0.8)
    pen.rectangle((0, 0, width, floor), _colour(draw, 0.2, 0.9))
    pen.rectangle((0, floor, width, height), _colour(draw, 0.5, 0.6), _INK, 2 * _SMOOTH)
    for _ in range(draw.randint(2, 5)):  # windows, images, furniture
        x, y = draw.uniform(0, 0.8) * width, draw.uniform(0.02, 0.6) * height
        w, h = draw.uniform(0.1, 0.35) * width, draw.uniform(0.08, 0.3) * height
        pen.rectangle((x, y, x + w, y + h), _colour(draw, 0.4, 0.8), _INK, 2 * _SMOOTH)
        pen.line((x + w / 2, y, x + w / 2, y + h), _INK, _SMOOTH)


def _screentone(canvas: Image.Image, pitch: int, dark: float) -> None:
    """Dots on white, ``pitch`` pixels of the finished image apart, covering the share ``dark``."""
    step = pitch * _SMOOTH
    rows, columns = np.mgrid[:step, :step]
    rows, columns = (rows + columns) % step - step / 2, (rows - columns) % step - step / 2
    dots = np.hypot(rows, columns) < step * math.sqrt(dark / math.pi)
    across, down = (-(-length // step) for length in canvas.size)
    mask = np.tile(dots, (down, across))[: canvas.height, : canvas.width]
    canvas.paste(_INK, (0, 0), Image.fromarray(mask))


def _colour(draw: random.Random, saturation: float, value: float) -> Colour:
    saturation, value = saturation * draw.uniform(0.6, 1.2), value * draw.uniform(0.85, 1.05)
    parts = colorsys.hsv_to_rgb(draw.random(), min(1, saturation), min(1, value))
    red, green, blue = (round(255 * part) for part in parts)
    return red, green, blue


def _darker(colour: Colour) -> Colour:
    red, green, blue = (part * 7 // 10 for part in colour)
    return red, green, blue


class _Figure:
    """One figure: hair behind, body, head, face, fringe. Lengths are in heads, turned by a lean."""

    def __init__(self, canvas: Image.Image, draw: random.Random) -> None:
        self.canvas, self.pen, self.random = canvas, ImageDraw.Draw(canvas), draw
        self.head = canvas.width * draw.uniform(0.09, 0.24)
        self.x = canvas.width * draw.uniform(0.3, 0.7)
        self.y = canvas.height * draw.uniform(0.22, 0.4)
        self.lean = draw.uniform(-0.35, 0.35)
        self.ink = round(_SMOOTH * draw.uniform(1.2, 3))
        self.hair, self.cloth = _colour(draw, 0.6, 0.8), _colour(draw, 0.6, 0.8)
        self.skin: Colour = (252, 226, 208)

    def draw(self) -> None:
        """Everything, from the back to the front."""
        tail = self.random.uniform(0.8, 3.5)
        spread = self.random.uniform(0.9, 1.6)
        self.shape([(-spread, -0.3), (-spread, tail), (0, tail * 0.8), (spread, tail), (spread, -0.3)], self.hair)  # fmt: skip
        self.body()
        self.oval(0, 0, 0.95, 1.1, self.skin)
        self.face()
        self.fringe()

    def body(self) -> None:
        wide, waist = self.random.uniform(0.9, 1.5), self.random.uniform(0.5, 0.9)
        hem, flare = self.random.uniform(2.5, 5), self.random.uniform(0.8, 2.2)
        for side in (-1, 1):  # arms
            hand = (side * self.random.uniform(0.6, 2.6), self.random.uniform(0.5, 4))
            elbow = (side * self.random.uniform(1.4, 2.2), self.random.uniform(1.8, 2.8))
            arm = [(side * wide * 0.8, 1.3), elbow, hand, (hand[0] + 0.3, hand[1] + 0.3), (elbow[0], elbow[1] + 0.4), (side * wide * 0.7, 1.9)]  # fmt: skip
            self.shape(arm, self.cloth)
            self.oval(*hand, 0.28, 0.28, self.skin)
        self.shape([(-0.3, 0.8), (-0.3, 1.4), (0.3, 1.4), (0.3, 0.8)], self.skin)
        top = [(-wide, 1.3), (-waist, hem * 0.6), (-flare, hem), (flare, hem), (waist, hem * 0.6), (wide, 1.3)]  # fmt: skip
        self.shape(top, self.cloth)
        self.shape([(0.1, 1.3), (waist * 0.3, hem * 0.6), (flare * 0.4, hem), (flare, hem), (waist, hem * 0.6), (wide, 1.3)], _darker(self.cloth), 0)  # fmt: skip
        for _ in range(self.random.randint(1, 5)):  # buttons, bows, pockets
            x, y = self.random.uniform(-0.6, 0.6), self.random.uniform(1.5, hem * 0.9)
            width, height = (self.random.uniform(0.08, 0.3) for _ in "xy")
            self.oval(x, y, width, height, _colour(self.random, 0.7, 0.9))

    def face(self) -> None:
        apart, level = self.random.uniform(0.3, 0.5), self.random.uniform(0, 0.3)
        tall, iris = self.random.uniform(0.12, 0.32), _colour(self.random, 0.7, 0.7)
        for side in (-1, 1):
            self.oval(side * apart, level, 0.2, tall, (255, 255, 255))
            self.oval(side * apart, level, 0.13, tall * 0.85, iris)
            self.oval(side * apart, level - tall * 0.4, 0.05, 0.05, (255, 255, 255), 0)
        mouth = self.random.uniform(0.05, 0.25)
        self.oval(0, 0.7, mouth, self.random.uniform(0.02, 0.14), (190, 80, 80))

    def fringe(self) -> None:
        spikes = self.random.randint(3, 8)
        points: list[Point] = [(-1.05, 0.5)]
        for index in range(spikes):
            x = -1 + 2 * index / spikes
            points += [(x, -0.5), (x + 1 / spikes, self.random.uniform(-0.5, 0.2))]
        points += [(1.05, 0.5), (1.1, -0.6), (0.5, -1.25), (-0.5, -1.25), (-1.1, -0.6)]
        self.shape(points, self.hair)
        self.shape([(-0.6, -1), (0.5, -1.05), (0.4, -0.8), (-0.6, -0.75)], _darker(self.hair), 0)

    def place(self, x: float, y: float) -> Point:
        sine, cosine = math.sin(self.lean), math.cos(self.lean)
        return (
            self.x + self.head * (x * cosine - y * sine),
            self.y + self.head * (x * sine + y * cosine),
        )

    def shape(self, points: list[Point], fill: Colour, outline: float = 1) -> None:
        placed = [self.place(*point) for point in points]
        self.pen.polygon(placed, fill)
        if outline:
            self.pen.line([*placed, placed[0]], _INK, self.ink, joint="curve")

    def oval(
        self, x: float, y: float, wide: float, tall: float, fill: Colour, outline: float = 1
    ) -> None:
        turns = [2 * math.pi * step / 40 for step in range(40)]
        self.shape([(x + wide * math.cos(t), y + tall * math.sin(t)) for t in turns], fill, outline)
