"""A small folder of real photographs in mixed formats, sizes and shapes, from scikit-image."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]

# file in scikit-image's wheel, part of it, longest side, file to write
PHOTOGRAPHS: tuple[tuple[str, Box | None, int, str], ...] = (
    ("astronaut.png", None, 512, "astronaut.png"),
    ("chelsea.png", None, 451, "cat.jpg"),
    ("coffee.png", None, 384, "coffee.webp"),
    ("rocket.jpg", (180, 0, 460, 427), 427, "rocket.bmp"),
    ("camera.png", None, 320, "cameraman.png"),  # the greyscale one
    ("hubble_deep_field.jpg", None, 480, "galaxies.jpg"),
    ("motorcycle_left.png", None, 400, "motorcycle.jpeg"),
    ("ihc.png", (0, 0, 512, 256), 448, "tissue.webp"),
)


def write(folder: str | Path) -> Path:
    """Write the photographs into `folder` and return it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = _source()
    for name, box, longest, target in PHOTOGRAPHS:
        with Image.open(source / name) as opened:
            picture = opened.crop(box) if box else opened.copy()
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        picture.save(folder / target)
    return folder


def photograph(name: str) -> np.ndarray:
    """A photograph of scikit-image's wheel, uint8 RGB."""
    with Image.open(_source() / name) as opened:
        return np.asarray(opened.convert("RGB"))


def _source() -> Path:
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("The demo images come with scikit-image: pip install scikit-image")
    return Path(spec.submodule_search_locations[0]) / "data"
