"""JPEGs of camera size for the benchmarks, enlarged from the photographs that scikit-image's wheel has."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png",
    "motorcycle_right.png", "hubble_deep_field.jpg", "retina.jpg",
)  # fmt: skip
GRAIN = 4.0  # enlarged images are smoother than a camera's, and decode faster
QUALITY = 92


def write(folder: Path, count: int, side: int) -> list[Path]:
    """`count` different images whose longest side is `side`; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photograph_{index:03}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        if not path.exists():
            picture = _source(NAMES[index % len(NAMES)])
            scale = side / max(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            _save(picture.resize(size, Image.Resampling.BICUBIC), index, path)
    return paths


def write_enlarged(folder: Path, factors: tuple[int, ...] = (2, 3, 4)) -> list[Path]:
    """Every photograph at several times its size."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, name in enumerate(NAMES):
        picture = _source(name)
        for factor in factors:
            paths.append(folder / f"{Path(name).stem}_{factor}.jpg")
            if not paths[-1].exists():
                size = (picture.width * factor, picture.height * factor)
                _save(picture.resize(size, Image.Resampling.BICUBIC), index, paths[-1])
    return paths


def _source(name: str) -> Image.Image:
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise SystemExit("The photographs come with scikit-image: pip install scikit-image")
    return Image.open(Path(package.origin).parent / "data" / name).convert("RGB")


def _save(picture: Image.Image, seed: int, path: Path) -> None:
    """With grain that is different for each image."""
    generator = np.random.default_rng(seed)
    pixels = np.asarray(picture, np.float32)
    grain = generator.standard_normal(pixels.shape, np.float32) * GRAIN
    grained = Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))
    grained.save(path, quality=QUALITY)
