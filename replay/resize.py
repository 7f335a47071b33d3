"""Replay of ``resize/``: images brought into their buckets, compared pixel by pixel."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..trainer.dataset.dataset import Interpolation
from ..trainer.dataset.images import load_rgb, resize_and_crop
from ..trainer.sdxl.buckets import BucketConfig, assign, kohya_crop
from .bucketing import largest_error, settings_of
from .case import Case, Unsupported
from .kohya_arguments import import_part

_STATISTICS_BOUND = 1e-5
_CROP_BOUND = 1e-9
_ROW_KEYS = {
    "file",
    "size",
    "bucket",
    "resized",
    "crop_ltrb",
    "default_interpolation",
    "tensor_mean",
    "tensor_std",
}


def cases(folder: Path) -> Iterator[Case]:
    """One case per image and interpolation (error in grey levels), and one for each image's numbers.

    Raises:
        FileNotFoundError: the folder has no ``resize/resize.json``, or an image is missing.
        Unsupported: a setting, an interpolation or a recorded quantity is not known; names it.
    """
    home = folder / "resize"
    table = json.loads((home / "resize.json").read_text(encoding="utf-8"))
    settings = settings_of(table, "resize")
    with np.load(home / "expected.npz") as archive:
        expected = {key: archive[key] for key in archive.files}
    for place, row in enumerate(table["rows"]):
        if unknown := row.keys() - _ROW_KEYS:
            raise Unsupported(f"resize row {place}: recorded quantity {min(unknown)}")
        modes = {
            key.split(".", 1)[1]: pixels
            for key, pixels in expected.items()
            if key.split(".", 1)[0] == str(place)
        }
        yield from _row_cases(home, settings, row, modes)


def _row_cases(
    home: Path, settings: BucketConfig, row: dict[str, Any], modes: dict[str, np.ndarray]
) -> Iterator[Case]:
    image = load_rgb(home / row["file"], kohya=True)
    size = (image.shape[1], image.shape[0])
    placement = assign(size, settings)
    planned = [*size, *placement.bucket, *placement.resized]
    recorded = [*row["size"], *row["bucket"], *row["resized"]]
    yield Case(f"{row['file']} sizes", largest_error(planned, recorded), 0.0)
    if "crop_ltrb" in row:
        crop = [*kohya_crop(placement.bucket, size)]
        yield Case(f"{row['file']} crop_ltrb", largest_error(crop, row["crop_ltrb"]), _CROP_BOUND)
    for mode, pixels in modes.items():
        made = resize_and_crop(image, placement, _interpolation(mode, row["file"]))
        yield Case(f"{row['file']} {mode}", _pixel_error(made, pixels), 0.0)
    if "default_interpolation" in row:
        named = _interpolation(row["default_interpolation"], row["file"])
        made = resize_and_crop(image, placement)
        again = resize_and_crop(image, placement, named)
        yield Case(f"{row['file']} default_interpolation", _pixel_error(made, again), 0.0)
    yield from _statistics(row, resize_and_crop(image, placement))


def _interpolation(mode: str, file: str) -> Interpolation | None:
    given = {} if mode == "default" else {"resize_interpolation": mode}
    return import_part(given, f"resize {file}").folders[0].interpolation


def _statistics(row: dict[str, Any], made: np.ndarray) -> Iterator[Case]:
    """Mean and standard deviation of the VAE's input, pixels in -1..1."""
    tensor = (made.astype(np.float64) / 255.0 - 0.5) / 0.5
    values = {"tensor_mean": tensor.mean(), "tensor_std": tensor.std(ddof=1)}
    for quantity, value in values.items():
        if quantity in row:
            error = largest_error([float(value)], [row[quantity]])
            yield Case(f"{row['file']} {quantity}", error, _STATISTICS_BOUND)


def _pixel_error(made: np.ndarray, expected: np.ndarray) -> float:
    if made.shape != expected.shape:
        return math.inf
    return float(np.abs(made.astype(np.int64) - expected.astype(np.int64)).max(initial=0))
