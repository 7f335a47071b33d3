"""Scenes of 16x16 pixels with captions, made from a seed: what the base model is trained on."""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np

from .sprites import COLOURS, ROBOT, SPRITES, pixels

SIZE = 16
EMPTY = 0.08  # share of scenes without a sprite
STRANGE = 0.1  # share of captions with a word that means nothing
SCENES = {  # sky at its top and bottom, ground, and dots on both, RGB
    "meadow": ((120, 200, 250), (190, 230, 255), (110, 190, 80), None, (80, 160, 60)),
    "night": ((58, 66, 128), (104, 104, 176), (70, 100, 110), (250, 250, 210), None),
    "desert": ((250, 226, 170), (255, 240, 200), (220, 170, 100), None, (196, 146, 80)),
    "snow": ((170, 190, 215), (205, 220, 235), (245, 250, 255), (255, 255, 255), None),
    "sea": ((60, 170, 210), (20, 80, 150), (214, 196, 140), (170, 230, 245), None),
    "sunset": ((250, 120, 110), (255, 200, 120), (90, 60, 90), None, None),
}

ONSETS = ("b", "bl", "d", "dr", "f", "g", "gr", "k", "m", "n", "p", "pl", "s", "t", "v", "z")
ENDINGS = ("b", "d", "g", "k", "l", "m", "n", "p", "r", "s", "t", "x", "rp", "nk", "st")


class Scene(NamedTuple):
    """uint8 `[16, 16, 3]` and what it shows, as a caption's tags."""

    picture: np.ndarray
    tags: list[str]


def scene(seed: int) -> Scene:
    """A scene, most often with one of the sprites, and a caption that may leave something out."""
    draw = random.Random(f"scene {seed}")
    name, colour, where = (draw.choice(list(names)) for names in (SPRITES, COLOURS, SCENES))
    picture = _background(where, draw)
    strange = draw.random() < STRANGE
    if strange and draw.random() < 0.5:  # it names a thing that nobody has seen: there is nothing
        tags = [_word(draw), where]
    elif draw.random() < EMPTY:
        tags = [where]
    else:
        side = _place(picture, *pixels(SPRITES[name], colour), draw)
        tags = [name if draw.random() < 0.15 else f"{colour} {name}", where, *side]
        if draw.random() < 0.1:
            tags.pop(draw.randrange(1, len(tags)))
        if strange:
            tags.append(_word(draw))
    if draw.random() < 0.3:
        draw.shuffle(tags)
    return Scene(picture, [] if draw.random() < 0.1 else tags)


def robots(count: int = 10) -> list[Scene]:
    """The robot in scenes of which no two have the same tags."""
    draw, found = random.Random("robots"), {}
    while len(found) < count:
        shown = robot(list(SCENES)[len(found) % len(SCENES)], draw)
        found.setdefault(tuple(shown.tags), shown)
    return list(found.values())


def robot(where: str, draw: random.Random) -> Scene:
    """The robot somewhere in one of the scenes."""
    picture = _background(where, draw)
    return Scene(picture, [where, *_place(picture, *pixels(ROBOT), draw)])


def _background(where: str, draw: random.Random) -> np.ndarray:
    top, bottom, ground, above, below = SCENES[where]
    horizon, phase = 12 + draw.randint(-1, 1), draw.randrange(4)
    share = np.linspace(0, 1, SIZE)[:, None, None]
    picture = np.array(top) * (1 - share) + np.array(bottom) * share
    picture = np.repeat(picture, SIZE, axis=1).astype(np.uint8)
    picture[horizon:] = ground
    row, column = np.indices((SIZE, SIZE))
    dots = (5 * (column + 4 * phase) + 7 * row) % 16 == 0  # strewn, but the same at each phase
    for colour, part in ((above, (row < horizon) & (row % 3 == 1)), (below, row >= horizon)):
        if colour:
            picture[dots & part] = colour
    return picture


def _place(
    picture: np.ndarray, art: np.ndarray, covers: np.ndarray, draw: random.Random
) -> list[str]:
    """Put the sprite on the ground; the tag of its side, none in the middle."""
    height, width = covers.shape
    side = draw.choice(("left", "", "right"))
    top = 13 - height + draw.randint(0, 1)
    edge = draw.randint(0, 1)
    left = {"left": edge, "": 2 + edge, "right": SIZE - width - edge}[side]
    picture[top : top + height, left : left + width][covers] = art[covers]
    return [side] if side else []


def _word(draw: random.Random) -> str:
    """A word that means nothing, such as `blor` or `zumek`."""
    parts = [draw.choice(ONSETS) + draw.choice("aeiou")]
    if draw.random() < 0.5:
        parts.append(draw.choice("bdfgklmnprstvz") + draw.choice("aeiou"))
    return "".join(parts) + draw.choice(ENDINGS)


def sheet(pictures: list[np.ndarray], columns: int, scale: int = 6, gap: int = 4) -> np.ndarray:
    """Pictures in rows, enlarged, with white between, uint8 RGB."""
    height, width = (scale * side + gap for side in pictures[0].shape[:2])
    rows = -(-len(pictures) // columns)
    out = np.full((rows * height - gap, columns * width - gap, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * height, number % columns * width
        large = picture.repeat(scale, 0).repeat(scale, 1)
        out[top : top + height - gap, left : left + width - gap] = large
    return out
