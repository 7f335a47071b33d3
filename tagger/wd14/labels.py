"""The labels of a tagger, what its list tells about the model, and how tags are spelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

Layout = Literal["csv", "json", "txt"]
"""The form of the list. Tags of `json` are sorted by probability, others stay in its order."""

Category = Literal[
    "rating", "general", "character", "copyright", "artist", "meta", "model", "quality"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)

Kind = Literal["danbooru", "e621", "mapping", "vocabulary", "camie 1", "camie 2", "pixai", "plain"]
"""What a list tells about its model.

`danbooru` and `e621`: a CSV with the category numbers of that site; `mapping` and `vocabulary`:
cl_tagger's JSON files; `pixai`: a list with the series of characters, or the authors' JSON;
`plain`: one tag a line.
"""

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
    """None for an output that the list leaves out, or whose kind is unknown: it is never a tag."""


@dataclass(frozen=True)
class Labels:
    """The labels of a model in the order of its outputs, and what else its list says."""

    entries: tuple[Label, ...]
    layout: Layout = "csv"
    kind: Kind = field(default="danbooru", compare=False)
    path: Path | None = field(default=None, compare=False)
    series: Mapping[int, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)
    """By the place of a character the series that it is from."""
    limits: np.ndarray | None = field(default=None, compare=False, repr=False)
    """(labels,) float32: the threshold that the model's authors found best for each tag, NaN where
    there is none; None where no file of theirs lies beside the list."""

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def file(self) -> str:
        """The name of the list's file, for messages."""
        return self.path.name if self.path else "tag list"

    def places(self, category: Category) -> np.ndarray:
        """Which outputs are of a category, ascending."""
        return self._places[category]

    @cached_property
    def _places(self) -> dict[Category, np.ndarray]:
        return {
            category: np.array(
                [i for i, label in enumerate(self.entries) if label.category == category], np.intp
            )
            for category in CATEGORIES
        }

    def named(self, category: Category) -> frozenset[str]:
        """The tags of a category."""
        return frozenset(label.name for label in self.entries if label.category == category)


def spaced(name: str, kohya: bool = False) -> str:
    """The tag with spaces for underscores; up to three characters and kaomoji stay as they are.

    The length rule is kohya's, the list adds what it misses: `||_||`, `(o)_(o)`. `kohya`: only
    the rule.
    """
    if len(name) <= 3 or (name in KAOMOJI and not kohya):
        return name
    return name.replace("_", " ")
