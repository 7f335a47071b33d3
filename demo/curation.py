"""Labelled images for each check of Curate Dataset, in two halves that share no source image.

Thresholds are chosen on the tuning half and reported on the held-out one.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Literal, NamedTuple

import cv2
import numpy as np

from . import drawings, flaws
from .flaws import Picture
from .pictures import photograph

Half = Literal["tuning", "held out"]

PHOTOGRAPHS: dict[Half, tuple[str, ...]] = {
    "tuning": (
        "astronaut.png", "brick.png", "coffee.png", "coins.png", "hubble_deep_field.jpg", "ihc.png",
    ),
    "held out": (
        "camera.png", "chelsea.png", "grass.png", "motorcycle_left.png", "page.png", "rocket.jpg",
    ),
}  # fmt: skip
"""Those of scikit-image that are sharp, to the eye, at full size."""

ROUND_SUBJECTS: dict[Half, tuple[str, ...]] = {
    "tuning": ("cell.png", "color.png", "phantom.png"),
    "held out": ("horse.png", "logo.png", "retina.jpg"),
}
"""Subjects on a plain ground, which are no bars."""

DRAWING_SIZES = ((480, 640), (640, 480), (512, 704), (400, 400), (600, 800))
BAR_COLOURS = ((0, 0, 0), (0, 0, 0), (255, 255, 255), (90, 30, 120))


class Item(NamedTuple):
    """One labelled image; ``kind`` says what was done to it."""

    source: str
    kind: str
    picture: Picture
    flawed: bool


class Copy(NamedTuple):
    """One image of a set with duplicates: those of one ``group`` are copies of each other."""

    group: str
    kind: str
    picture: Picture


class Shape(NamedTuple):
    """A labelled size (width, height) without an image."""

    size: tuple[int, int]
    flawed: bool


def sources(half: Half) -> Iterator[tuple[str, Picture]]:
    """Sharp images without bars: photographs, a part of each, and drawings."""
    for name in PHOTOGRAPHS[half]:
        picture = photograph(name)
        height, width = picture.shape[:2]
        yield name, picture
        yield f"part of {name}", picture[height // 4 : -height // 8, width // 4 : -width // 8]
    for number in range(14):
        seed = _seed(number, half)
        scenery = drawings.SCENERIES[number % len(drawings.SCENERIES)]
        size = DRAWING_SIZES[number % len(DRAWING_SIZES)]
        yield f"drawing {seed}", drawings.drawing(seed, size, scenery)


def blurred(half: Half) -> Iterator[Item]:
    """Sharp images as they come, and blurred ones. Enlarged less than 3 times is neither."""
    for number, (name, picture) in enumerate(sources(half)):
        draw = random.Random(number)
        grain = draw.choice((4, 8, 12))
        soft = [flaws.gaussian(picture, draw.uniform(2, 5)) for _ in range(3)]
        sharp = {
            "plain": picture,
            "jpeg": flaws.jpeg(picture, draw.choice((50, 70, 85))),
            "grain": flaws.noisy(picture, draw.choice((5, 10, 18)), number),
            "faint": flaws.toned(picture, 0.35, 90),
            "made smaller": flaws.resized(picture, draw.uniform(0.6, 0.9)),
            "subject in focus": flaws.subject_in_focus(picture, draw.uniform(3, 8), draw),
        }
        dull = {
            "blur": soft[0],
            "blur, jpeg": flaws.jpeg(soft[1], draw.choice((40, 60, 85))),
            "blur, grain": flaws.noisy(soft[2], grain, number),
            "out of focus": flaws.out_of_focus(picture, draw.randint(4, 8)),
            "shaken": flaws.shaken(picture, draw.choice((13, 17, 25)), draw.uniform(0, math.pi)),
            "enlarged": flaws.enlarged(
                picture,
                draw.uniform(3, 5),
                draw.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)),
            ),
        }
        for flawed, table in ((False, sharp), (True, dull)):
            for kind, made in table.items():
                yield Item(name, kind, made, flawed)


def bordered(half: Half) -> Iterator[Item]:
    """Images with bars on opposite sides, and what looks like bars."""
    for number, (name, picture) in enumerate(sources(half)):
        draw = random.Random(number)
        height = picture.shape[0]
        bars = [flaws.framed(picture, draw.choice(BAR_COLOURS), draw) for _ in range(4)]
        yield Item(name, "bars", bars[0], True)
        yield Item(name, "bars, jpeg", flaws.jpeg(bars[1], draw.choice((40, 60, 85))), True)
        yield Item(name, "bars, grain", flaws.noisy(bars[2], draw.choice((2, 4)), number), True)
        smaller = flaws.resized(bars[3], draw.uniform(0.6, 0.95))
        yield Item(name, "bars, made smaller", flaws.jpeg(smaller, 85), True)
        yield Item(name, "plain", picture, False)
        yield Item(name, "jpeg", flaws.jpeg(picture, 60), False)
        yield Item(name, "vignette", flaws.vignetted(picture, draw.uniform(0.4, 0.9)), False)
        below = (0, int(height * draw.uniform(0.05, 0.2)), 0, 0)
        one = cv2.copyMakeBorder(picture, *below, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        yield Item(name, "one bar only", one, False)
    for name in ROUND_SUBJECTS[half]:
        yield Item(name, "plain ground", photograph(name), False)
    for number in range(20):
        seed, draw = _seed(700 + number, half), random.Random(number)
        page = drawings.drawing(seed, DRAWING_SIZES[number % 5], "white")
        page = flaws.framed(page, (255, 255, 255), draw, "all")
        yield Item(f"drawing {seed}", "white ground", flaws.jpeg(page, 80), False)
        yield Item(f"stripes {seed}", "stripes", _stripes(seed), False)


def copies(half: Half) -> Iterator[Copy]:
    """Images in six versions each, among others that are alike in layout, ground or texture."""
    for number, (name, picture) in enumerate(_originals(half)):
        draw = random.Random(number)
        yield Copy(name, "original", picture)
        yield Copy(name, "smaller", flaws.resized(picture, draw.uniform(0.4, 0.9)))
        yield Copy(name, "jpeg", flaws.jpeg(picture, draw.choice((30, 50, 80))))
        yield Copy(name, "toned", _toned(picture, draw))
        yield Copy(name, "cropped", flaws.cropped(picture, 0.05, draw))
        mixed = flaws.cropped(flaws.resized(picture, draw.uniform(0.5, 0.9)), 0.05, draw)
        mixed = flaws.jpeg(_toned(mixed, draw), draw.choice((50, 80)))
        yield Copy(name, "all of these", mixed)


def small(half: Half) -> Iterator[Shape]:
    """Sizes of bucket shapes divided by a factor; flawed when enlarged by more than a quarter."""
    draw = random.Random(f"small {half}")
    for width, height in ((1024, 1024), (832, 1216), (1216, 832), (704, 1472), (1344, 768)):
        for factor in (0.5, 0.8, 1, 1.1, 1.2, 1.3, 1.4, 1.6, 2, 3):
            for _ in range(3):
                exact = factor * draw.uniform(0.98, 1.02)
                yield Shape((round(width / exact), round(height / exact)), factor > 1.25)


def extreme(half: Half) -> Iterator[Shape]:
    """Sizes by their ratio; flawed when the widest bucket (1472 x 704) cuts away over a fifth."""
    draw = random.Random(f"extreme {half}")
    for ratio in (1, 1.2, 1.5, 16 / 9, 2, 2.2, 2.39, 2.5, 2.75, 3, 3.5, 4, 5):
        for _ in range(10):
            length, exact = draw.randint(900, 3000), ratio * draw.uniform(0.99, 1.01)
            size = (length, round(length / exact))
            lost = 1 - 1472 / 704 / exact
            yield Shape(size if draw.random() < 0.5 else (size[1], size[0]), lost > 0.2)


def _originals(half: Half) -> Iterator[tuple[str, Picture]]:
    for name in PHOTOGRAPHS[half]:
        picture = photograph(name)
        rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
        for quarter in range(4):
            top, left = quarter // 2 * rows, quarter % 2 * columns
            yield f"{name} {quarter}", picture[top : top + rows, left : left + columns]
        for number in range(3):  # one photograph behind several figures
            seed = _seed(900 + number, half) + 100 * len(name)
            yield f"{name} behind {seed}", drawings.figure_on(picture, seed)
    for number in range(16):
        seed = _seed(1000 + number, half)
        yield f"white {seed}", drawings.drawing(seed, (480, 640), "white")
        seed = _seed(2000 + number, half)  # four figures in each room
        room = _seed(3000 + number // 4, half)
        yield f"room {seed}", drawings.drawing(seed, (480, 640), "room", room)
        seed = _seed(4000 + number, half)
        scenery = drawings.SCENERIES[1 + number % 5]
        yield f"drawing {seed}", drawings.drawing(seed, (640, 480), scenery)
    for number in range(8):
        seed = _seed(5000 + number, half)
        yield f"flat {seed}", _flat(seed, graded=number % 2 == 1)


def _seed(number: int, half: Half) -> int:
    return 2 * number + (half == "held out")


def _toned(picture: Picture, draw: random.Random) -> Picture:
    return flaws.toned(picture, draw.uniform(0.85, 1.15), draw.uniform(-15, 15))


def _stripes(seed: int) -> Picture:
    """Flags: three flat bands of different colours."""
    draw = random.Random(seed)
    ends = [0, *sorted(draw.sample(range(40, 440), 2)), 480]
    picture = np.empty((480, 640, 3), np.uint8)
    for top, bottom in itertools.pairwise(ends):
        picture[top:bottom] = [draw.randint(0, 255) for _ in range(3)]
    return picture


def _flat(seed: int, graded: bool) -> Picture:
    """One colour, or from one to another."""
    draw = random.Random(seed)
    first, last = (np.array([draw.randint(0, 255) for _ in range(3)]) for _ in range(2))
    share = np.linspace(0, 1, 400)[:, None, None] if graded else 0.0
    picture = np.broadcast_to(first * (1 - share) + last * share, (400, 300, 3))
    return picture.astype(np.uint8)
