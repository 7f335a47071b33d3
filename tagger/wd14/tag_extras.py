"""What some taggers ship beside their tags: the series of characters, and their own thresholds."""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...base.small_file import parse_json, read_small
from .labels import CATEGORIES, Category, Labels

_MOST_BYTES = 1 << 28
SERIES_FILE = "char_ip_map.json"
"""PixAI's own: a character's tag and the list of its series."""
METRICS_FILE = "model_tag_metrics.npz"
"""cl_tagger 2: `best_thr`, a threshold for each output, to be compared with raw probabilities."""
CATEGORY_FILE = "thresholds.csv"
"""deepghs: category, name and threshold."""
MODES_FILES = ("threshold.json", "thresholds.json")
"""Camie: by category and mode; `balanced` is the one that its author recommends."""
_MODE = "balanced"


def csv_series(
    rows: Sequence[Sequence[str]], columns: Mapping[str, int], path: Path
) -> dict[int, tuple[str, ...]]:
    """By row the names in the column `ips`, a JSON list written as text."""
    column = columns.get("ips")
    if column is None:
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for place, row in enumerate(rows):
        text = row[column].strip() if len(row) > column else ""
        if text:
            try:
                names = _names(parse_json(text))
            except ValueError:
                names = None
            if names is None:
                raise ValueError(
                    f"{path}, tag {place + 1}: {text[:60]} in the column ips is no list of names; "
                    "download the file again"
                )
            if names:
                found[place] = names
    return found


def csv_limits(rows: Sequence[Sequence[str]], columns: Mapping[str, int]) -> np.ndarray | None:
    """The column `best_threshold`, which animetimm's lists have."""
    column = columns.get("best_threshold")
    if column is None:
        return None
    return np.array([_number(row[column] if len(row) > column else "") for row in rows], np.float32)


def read_series(path: Path, labels: Labels) -> dict[int, tuple[str, ...]]:
    """From the file of characters and series beside the list, if there is one."""
    beside = path.with_name(SERIES_FILE)
    if labels.kind not in ("danbooru", "pixai") or not beside.is_file():
        return {}
    found = _json(beside)
    if not isinstance(found, dict) or any(_names(value) is None for value in found.values()):
        raise ValueError(f"{beside} is no list of series by character; download it again")
    places = {name: place for place, (name, _) in enumerate(labels.entries)}
    return {places[name]: tuple(found[name]) for name in found if name in places}


def read_limits(path: Path, labels: Labels) -> np.ndarray | None:
    """From the first file of thresholds beside the list; None if there is none.

    Raises ValueError for a file that does not fit the list.
    """
    beside = path.with_name(METRICS_FILE)
    if labels.kind in ("vocabulary", "mapping") and beside.is_file():
        return _metrics(beside, len(labels))
    beside = path.with_name(CATEGORY_FILE)
    if labels.layout == "csv" and beside.is_file():
        return _by_category(labels, _category_table(beside))
    for name in MODES_FILES:
        beside = path.with_name(name)
        if labels.kind in ("camie 1", "camie 2", "danbooru") and beside.is_file():
            return _by_category(labels, _modes(beside))
    return None


def _metrics(path: Path, count: int) -> np.ndarray:
    try:
        with np.load(io.BytesIO(read_small(path, _MOST_BYTES)), allow_pickle=False) as tables:
            limits = np.asarray(tables["best_thr"], np.float32)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} holds no thresholds best_thr: {error}; download it again, or remove it"
        ) from error
    if limits.shape != (count,):
        raise ValueError(
            f"{path} holds thresholds of the shape {limits.shape} for {count} tags; take it and the "
            "tag list from one place, or remove it"
        )
    return limits


def _category_table(path: Path) -> dict[str, float]:
    """The threshold of each category by its name."""
    try:
        text = read_small(path).decode("utf-8-sig")
        found = list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"cannot read the thresholds {path}: {error}") from error
    limits = {str(row.get("name")).lower(): _number(row.get("threshold") or "") for row in found}
    return _checked(limits, path)


def _modes(path: Path) -> dict[str, float]:
    """By category the threshold itself, or that of the balanced mode."""
    found = _json(path)
    limits: dict[str, float] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        for key in (_MODE, "threshold"):
            value = value.get(key, value) if isinstance(value, dict) else value
        limits[name.lower()] = _number(value)
    return _checked(limits, path)


def _checked(limits: dict[str, float], path: Path) -> dict[str, float]:
    if not any(0 <= limits.get(category, math.nan) <= 1 for category in CATEGORIES):
        raise ValueError(
            f"{path} names no threshold between 0 and 1 of a category among "
            f"{', '.join(CATEGORIES)}; download it again, or remove it"
        )
    return limits


def _by_category(labels: Labels, limits: Mapping[str, float]) -> np.ndarray:
    by_kind: dict[Category | None, float] = {
        name: limits.get(name, math.nan) for name in CATEGORIES
    }
    return np.array([by_kind.get(label.category, math.nan) for label in labels.entries], np.float32)


def _number(value: object) -> float:
    """The number, NaN for what is none."""
    try:
        return float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return math.nan


def _names(value: Any) -> tuple[str, ...] | None:
    """A list of texts as a tuple; None for anything else."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None


def _json(path: Path) -> Any:
    try:
        return parse_json(read_small(path, _MOST_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}; download it again, or remove it") from error
