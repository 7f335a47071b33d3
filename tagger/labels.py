"""The labels of a tagger: `selected_tags.csv`, and how a tag's underscores become spaces."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal, NamedTuple

Category = Literal["rating", "general", "character"]

# Danbooru's category numbers as SmilingWolf writes them.
CATEGORIES: dict[str, Category] = {"9": "rating", "0": "general", "4": "character"}

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
    """One output of the model: its tag as the CSV spells it, and what kind of tag it is."""

    name: str
    category: Category


def read_labels(path: str | Path) -> tuple[Label, ...]:
    """The labels of `selected_tags.csv` in output order; ValueError says which line is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the tag list {path}: {error}; download it again") from error
    rows = list(csv.reader(text.splitlines()))
    if not rows or "name" not in rows[0] or "category" not in rows[0]:
        raise ValueError(
            f"{path} is no WD14 tag list: its first line must name the columns name and category, "
            f"got {rows[0] if rows else 'an empty file'}; take the selected_tags.csv that came with the model"
        )
    name, category = rows[0].index("name"), rows[0].index("category")
    labels = [_label(row, name, category, f"{path} line {i}") for i, row in enumerate(rows[1:], 2)]
    if not labels:
        raise ValueError(f"{path} lists no tags; download it again")
    return tuple(labels)


def spaced(name: str) -> str:
    """The tag with spaces for underscores; up to three characters and kaomoji stay as they are.

    The length rule is kohya's, the list mends what it misses: `||_||`, `(o)_(o)`.
    """
    if len(name) <= 3 or name in KAOMOJI:
        return name
    return name.replace("_", " ")


def _label(row: list[str], name: int, category: int, place: str) -> Label:
    if len(row) <= max(name, category) or row[category] not in CATEGORIES:
        raise ValueError(
            f"{place}: {row} has no category among {', '.join(CATEGORIES)} (rating, general, "
            "character); the file is damaged or belongs to another family of taggers"
        )
    return Label(row[name], CATEGORIES[row[category]])
