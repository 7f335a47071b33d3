"""From probabilities to tags: thresholds, order and spelling, with kohya's documented meaning."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from .captions import SEPARATOR, split_tags, tag_key
from .labels import Category, Label, spaced

RatingPlace = Literal["off", "first", "last"]
RATING_PLACES: tuple[RatingPlace, ...] = get_args(RatingPlace)

_PART = re.compile(r"(?:\\.|[^;])+")
_PAIR = re.compile(r"((?:\\.|[^,\\])+),((?:\\.|[^,\\])+)")


class Tag(NamedTuple):
    """One tag of one picture, spelled as it is written into the caption."""

    name: str
    category: Category
    probability: float


@dataclass(frozen=True)
class TagOptions:
    """How probabilities become tags; ValueError at construction lists everything wrong at once.

    Lists compare whole tags by `tag_key`, in the final spelling. A threshold is inclusive;
    `character_threshold` None leaves character tags out.
    """

    general_threshold: float = 0.3
    character_threshold: float | None = None
    rating: RatingPlace = "off"
    remove_underscore: bool = True
    undesired: tuple[str, ...] = ()
    replacements: tuple[tuple[str, str], ...] = ()
    always_first: tuple[str, ...] = ()
    character_tags_first: bool = False
    character_tag_expand: bool = False
    separator: str = SEPARATOR

    def __post_init__(self) -> None:
        problems = [
            *_threshold_problems("general_threshold", self.general_threshold),
            *_threshold_problems("character_threshold", self.character_threshold or 0.0),
        ]
        if self.rating not in RATING_PLACES:
            problems.append(f"rating is {self.rating!r}, allowed: {', '.join(RATING_PLACES)}")
        for name in ("undesired", "always_first"):
            problems += _list_problems(name, getattr(self, name))
        problems += _replacement_problems(self.replacements)
        if not self.separator:
            problems.append('separator is empty, give one such as ", "')
        if problems:
            raise ValueError("tag options: " + "; ".join(problems))


def select(
    probabilities: np.ndarray, labels: Sequence[Label], options: TagOptions
) -> tuple[Tag, ...]:
    """The tags of one picture from its (labels,) probabilities, in the order of the labels.

    Then general and character tags swap if asked, the rating takes its place, and `always_first`
    tags that are there come to the front in their given order. Two characters of one series,
    expanded, give the series twice, as in kohya's script.
    """
    if probabilities.shape != (len(labels),):
        raise ValueError(
            f"one probability per label is needed: got shape {probabilities.shape} for "
            f"{len(labels)} labels; the tag list does not belong to this model"
        )
    found = _above(probabilities, labels, "general", options.general_threshold)
    tags = [tag for label in found for tag in _spelled(label, options)]
    characters = _characters(probabilities, labels, options)
    if options.character_tags_first:
        tags = [tag for group in reversed(characters) for tag in group] + tags
    else:
        tags += [tag for group in characters for tag in group]
    rating = _rating(probabilities, labels, options)
    tags = [*rating, *tags] if options.rating == "first" else [*tags, *rating]
    return tuple(_without_undesired(_fronted(tags, options.always_first), options.undesired))


def count_tags(pictures: Iterable[Iterable[str]]) -> list[tuple[str, int]]:
    """(tag, number of pictures with it), most frequent first, ties in order of appearance."""
    return Counter(tag for tags in pictures for tag in dict.fromkeys(tags)).most_common()


def parse_list(text: str, separator: str = ",") -> tuple[str, ...]:
    """The tags that a user typed in one field, line breaks counting as separators."""
    return tuple(tag for line in text.splitlines() for tag in split_tags(line, separator))


def parse_replacements(text: str) -> tuple[tuple[str, str], ...]:
    """kohya's `source,target;source,target`, also one pair per line; a backslash escapes `,` `;`."""
    pairs: list[tuple[str, str]] = []
    for part in (found for line in text.splitlines() for found in _PART.findall(line)):
        if not part.strip():
            continue
        pair = _PAIR.fullmatch(part)
        if pair is None:
            raise ValueError(
                f"tag replacement {part.strip()!r} is not of the form source,target; separate pairs "
                "by ; or a new line and write \\, for a comma inside a tag"
            )
        source, target = (re.sub(r"\\([,;])", r"\1", side).strip() for side in pair.groups())
        pairs.append((source, target))
    return tuple(pairs)


def expand_character(name: str) -> tuple[str, ...]:
    """`name_(series)` -> `name`, `series`, split at the last parenthesis; others unchanged."""
    head, parenthesis, series = name.rpartition("(")
    head, series = head.removesuffix("_"), series.replace(")", "")
    if not name.endswith(")") or not parenthesis or not head or not series:
        return (name,)
    return head, series


def _above(
    probabilities: np.ndarray, labels: Sequence[Label], category: Category, threshold: float
) -> list[Tag]:
    """Labels of a category at or above the threshold, compared in float32 as the model gives it."""
    hits = np.flatnonzero(probabilities >= threshold).tolist()
    return [
        Tag(labels[i].name, category, float(probabilities[i]))
        for i in hits
        if labels[i].category == category
    ]


def _characters(
    probabilities: np.ndarray, labels: Sequence[Label], options: TagOptions
) -> list[list[Tag]]:
    """Character tags, one group per label: an expanded label gives two tags that stay together."""
    if options.character_threshold is None:
        return []
    found = _above(probabilities, labels, "character", options.character_threshold)
    return [list(_spelled(tag, options)) for tag in found]


def _rating(
    probabilities: np.ndarray, labels: Sequence[Label], options: TagOptions
) -> tuple[Tag, ...]:
    """The likeliest rating; nothing takes its place when it is undesired."""
    if options.rating == "off":
        return ()
    rated = [i for i, label in enumerate(labels) if label.category == "rating"]
    if not rated:
        return ()
    best = max(rated, key=lambda i: probabilities[i])
    return _spelled(Tag(labels[best].name, "rating", float(probabilities[best])), options)


def _spelled(tag: Tag, options: TagOptions) -> tuple[Tag, ...]:
    """The tag as the caption shows it: expanded, underscores removed, replaced."""
    expand = options.character_tag_expand and tag.category == "character"
    names = expand_character(tag.name) if expand else (tag.name,)
    if options.remove_underscore:
        names = tuple(map(spaced, names))
    targets = {tag_key(source): target for source, target in reversed(options.replacements)}
    return tuple(tag._replace(name=targets.get(tag_key(name), name)) for name in names)


def _fronted(tags: list[Tag], first: Sequence[str]) -> list[Tag]:
    """The tags, those in `first` before all others and in its order (the sort is stable)."""
    places = {tag_key(name): place for place, name in reversed(list(enumerate(first)))}
    return sorted(tags, key=lambda tag: places.get(tag_key(tag.name), len(first)))


def _without_undesired(tags: list[Tag], undesired: Sequence[str]) -> list[Tag]:
    unwanted = set(map(tag_key, undesired))
    return [tag for tag in tags if tag_key(tag.name) not in unwanted]


def _threshold_problems(name: str, value: float) -> list[str]:
    inside = math.isfinite(value) and 0.0 <= value <= 1.0
    return [] if inside else [f"{name} is {value}, allowed: 0 to 1"]


def _list_problems(name: str, tags: tuple[str, ...]) -> list[str]:
    if isinstance(tags, str):
        return [f"{name} is one text, a tuple of tags is needed"]
    return [f"{name} holds an empty tag, take it out"] if any(not t.strip() for t in tags) else []


def _replacement_problems(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return [
        f"replacement {pair} needs a source and a target; use undesired to remove a tag"
        for pair in pairs
        if len(pair) != 2 or not all(isinstance(side, str) and side.strip() for side in pair)
    ]
