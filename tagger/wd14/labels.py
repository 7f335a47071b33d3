"""The labels of a tagger: `selected_tags.csv` or `tag_mapping.json`, and how they are spelled."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from ...base.small_file import parse_json, read_small

Layout = Literal["csv", "json"]
"""The two families of taggers, by the file that their labels come in.

`csv`: images (N, side, side, 3) in 0..255 give probabilities; tags are in the order of the list.
`json`: images (N, 3, side, side) in -1..1 give logits; tags are sorted by probability.
"""

Category = Literal[
    "rating", "general", "character", "copyright", "artist", "meta", "model", "quality"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)

# Danbooru's category numbers as SmilingWolf writes them.
_CSV_CATEGORIES: dict[str, Category] = {"9": "rating", "0": "general", "4": "character"}
_JSON_CATEGORIES: dict[str, Category] = {name.capitalize(): name for name in CATEGORIES}
_MOST_BYTES = 1 << 26
_DIGITS = 6  # of a place among the outputs: a damaged file shall not ask for gigabytes

# Faces whose underscore is a mouth; the list of SmilingWolf's own demo and of the webui tagger.
KAOMOJI = frozenset(
    [
        "0_0",
        "(o)_(o)",
        "+_+",
        "+_-",
        "._.",
        "<o>_<o>",
        "<|>_<|>",
        "=_=",
        ">_<",
        "3_3",
        "6_9",
        ">_o",
        "@_@",
        "^_^",
        "o_o",
        "u_u",
        "x_x",
        "|_|",
        "||_||",
    ]
)


class Label(NamedTuple):
    """One output of the model: its tag as the file spells it, and what kind of tag it is."""

    name: str
    category: Category | None
    """None for an output that `tag_mapping.json` leaves out: it is never a tag."""


@dataclass(frozen=True)
class Labels:
    """The labels of a model in the order of its outputs, and its family."""

    entries: tuple[Label, ...]
    layout: Layout = "csv"
    _places: dict[Category, np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {
            category: np.array(
                [i for i, label in enumerate(self.entries) if label.category == category], np.intp
            )
            for category in CATEGORIES
        }
        object.__setattr__(self, "_places", places)

    def __len__(self) -> int:
        return len(self.entries)

    def places(self, category: Category) -> np.ndarray:
        """Which outputs are of a category, ascending."""
        return self._places[category]


def read_labels(path: str | Path) -> Labels:
    """The labels in output order, from a file of either kind; ValueError says what is wrong where."""
    path = Path(path)
    try:
        text = read_small(path, _MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the tag list {path}: {error}; download it again") from error
    if path.suffix.lower() == ".json":
        labels = Labels(_read_json(text, path), "json")
    else:
        labels = Labels(_read_csv(text, path), "csv")
    if not labels.entries:
        raise ValueError(f"{path} lists no tags; download it again")
    return labels


def _read_csv(text: str, path: Path) -> tuple[Label, ...]:
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise ValueError(f"{path} is no tag list: {error}; download it again") from error
    if not rows or "name" not in rows[0] or "category" not in rows[0]:
        raise ValueError(
            f"{path} is no WD14 tag list: its first line must name the columns name and category, "
            f"got {rows[0] if rows else 'an empty file'}; take the selected_tags.csv that came with the model"
        )
    name, category = rows[0].index("name"), rows[0].index("category")
    return tuple(
        _csv_label(row, name, category, f"{path} line {i}") for i, row in enumerate(rows[1:], 2)
    )


def _csv_label(row: list[str], name: int, category: int, place: str) -> Label:
    if len(row) <= max(name, category) or row[category] not in _CSV_CATEGORIES:
        raise ValueError(
            f"{place}: {row} has no category among {', '.join(_CSV_CATEGORIES)} (rating, general, "
            "character); the file is damaged or belongs to another family of taggers"
        )
    return Label(row[name], _CSV_CATEGORIES[row[category]])


def _read_json(text: str, path: Path) -> tuple[Label, ...]:
    """`{"0": {"tag": ..., "category": ...}, ...}`, the keys being places among the outputs."""
    try:
        mapping = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}; download it again") from error
    if not isinstance(mapping, dict):
        raise ValueError(f"{path} is no tag mapping: it must be an object; download it again")
    found = dict(_json_label(key, entry, path) for key, entry in mapping.items())
    return tuple(found.get(i, Label("", None)) for i in range(max(found, default=-1) + 1))


def _json_label(key: str, entry: Any, path: Path) -> tuple[int, Label]:
    fields = entry if isinstance(entry, dict) else {}
    tag, category = fields.get("tag"), _JSON_CATEGORIES.get(str(fields.get("category")))
    if not key.isdecimal() or len(key) > _DIGITS or not isinstance(tag, str) or category is None:
        raise ValueError(
            f"{path}, entry {key!r}: {entry} needs a number as its name, a tag, and a category "
            f"among {', '.join(_JSON_CATEGORIES)}; the file is damaged or of another kind"
        )
    return int(key), Label(tag, category)


def spaced(name: str, kohya: bool = False) -> str:
    """The tag with spaces for underscores; up to three characters and kaomoji stay as they are.

    The length rule is kohya's, the list adds what it misses: `||_||`, `(o)_(o)`. `kohya`: only
    the rule.
    """
    if len(name) <= 3 or (name in KAOMOJI and not kohya):
        return name
    return name.replace("_", " ")
