"""A set of 24 images of the robot of which seven spoil a training, and which these are."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..drawings import SCENERIES, drawing
from . import scenes
from .dataset import SCALE

TRIGGER = "zorp"
GOOD, WRONG, FOREIGN, COPIES = 17, 3, 2, 2
"""Images with nothing wrong, with the caption of another scene, of something else, and copies of good ones."""


class Flaws(NamedTuple):
    """Names of the images that spoil the set. copies: by name that of the image which it is a copy of."""

    captions: list[str]
    foreign: list[str]
    copies: dict[str, str]


class _Image(NamedTuple):
    kind: str
    picture: np.ndarray
    """uint8 RGB, 128 x 128."""
    tags: list[str]


def write(folder: str | Path, seed: int) -> Flaws:
    """Write the images and captions into ``folder``, in an order that tells nothing; the same for a seed."""
    draw = random.Random(f"flawed {seed}")
    images = _images(draw)
    order = draw.sample(range(len(images)), len(images))
    names = {place: f"image_{number:02}.png" for number, place in enumerate(order, 1)}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for place, (_, picture, tags) in enumerate(images):
        path = folder / names[place]
        Image.fromarray(picture).save(path)
        path.with_suffix(".txt").write_text(", ".join([TRIGGER, *tags]), encoding="utf-8")
    of_kind = {
        kind: [names[n] for n, image in enumerate(images) if image.kind == kind]
        for kind in ("caption", "foreign", "copy")
    }
    copies = {copy: names[place] for place, copy in enumerate(of_kind["copy"])}
    return Flaws(of_kind["caption"], of_kind["foreign"], copies)


def _images(draw: random.Random) -> list[_Image]:
    """The good ones first; the copies are of the first of these."""
    robots: list[scenes.Scene] = []
    while len(robots) < GOOD + WRONG:
        shown = scenes.robot(list(scenes.SCENES)[len(robots) % len(scenes.SCENES)], draw)
        if not any(_alike(shown.picture, other.picture) for other in robots):
            robots.append(shown)
    shuffled = draw.sample(robots, len(robots))
    good = [_Image("good", _large(one.picture), one.tags) for one in shuffled[:GOOD]]
    wrong = [
        _Image("caption", _large(one.picture), _other(one.tags, draw)) for one in shuffled[GOOD:]
    ]
    foreign = [
        _Image(
            "foreign",
            drawing(draw.randrange(10**6), (128, 128), draw.choice(SCENERIES)),
            draw.choice(good).tags,
        )
        for _ in range(FOREIGN)
    ]
    copies = [_Image("copy", _again(one.picture), one.tags) for one in good[:COPIES]]
    return [*good, *wrong, *foreign, *copies]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether less than a fifth of their pixels differ, so that one is nearly a copy of the other."""
    return float((one != other).any(2).mean()) < 0.2


def _large(art: np.ndarray) -> np.ndarray:
    return art.repeat(SCALE, 0).repeat(SCALE, 1)


def _again(picture: np.ndarray) -> np.ndarray:
    """The same in another file, after a JPEG of it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file).convert("RGB"))


def _other(tags: list[str], draw: random.Random) -> list[str]:
    """Tags of another scene, on another side."""
    where, side = tags[0], tags[1] if len(tags) > 1 else ""
    tag = draw.choice([name for name in scenes.SCENES if name != where])
    return [tag, *filter(None, [draw.choice([s for s in ("left", "", "right") if s != side])])]
