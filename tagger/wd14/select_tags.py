"""From probabilities to tags: thresholds, order and spelling, with kohya's documented meaning."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal, NamedTuple

import numpy as np

from ...base.config import Config, Problems
from ..captions.tag_text import SEPARATOR, list_problems, separator_problems, split_tags, tag_key
from .labels import Category, Labels, spaced

Place = Literal["off", "first", "last"]

NEVER = 1.01
"""A threshold above every probability, which leaves a category out."""

# Rating and quality have no threshold: of these categories the likeliest tag is taken, if asked.
_BEST: tuple[Literal["quality", "rating"], ...] = ("quality", "rating")
_ABOVE: tuple[Category, ...] = ("general", "character", "copyright", "artist", "meta", "model")
_THRESHOLDS = tuple(f"{category}_threshold" for category in _ABOVE)

_PART = re.compile(r"(?:\\.|[^;])+")
_PAIR = re.compile(r"((?:\\.|[^,\\])+),((?:\\.|[^,\\])+)")


class Tag(NamedTuple):
    """One tag of one image, spelled as it is written into the caption."""

    name: str
    category: Category
    probability: float


@dataclass(frozen=True)
class TagConfig(Config):
    """How probabilities become tags.

    Lists compare whole tags by `tag_key`, in the final spelling. A threshold is inclusive; above 1
    it leaves its category out. `kohya` writes what the script writes, not what its help says:
    lists compare letter by letter, `always_first` and characters put first end up reversed,
    `replacements` do nothing, kohya's underscore rule alone, repeated tags stay.
    """

    title = "Tag options"

    general_threshold: float = 0.3
    """A general tag is taken from this probability on, 0 to 1, or never above 1."""
    character_threshold: float = NEVER
    """A character's name is taken from this probability on, 0 to 1, or never above 1."""
    copyright_threshold: float = NEVER
    """The name of a series is taken from this probability on, 0 to 1, or never above 1."""
    artist_threshold: float = NEVER
    """An artist's name is taken from this probability on, 0 to 1, or never above 1."""
    meta_threshold: float = NEVER
    """A tag about the file is taken from this probability on, 0 to 1, or never above 1."""
    model_threshold: float = NEVER
    """The name of an image model is taken from this probability on, 0 to 1, or never above 1."""
    rating: Place = "off"
    """The likeliest rating goes to this place in the caption."""
    quality: Place = "off"
    """The likeliest quality goes to this place in the caption."""
    remove_underscore: bool = True
    """Tags are written with spaces instead of underscores, except for kaomoji."""
    undesired: tuple[str, ...] = ()
    """These tags are never taken."""
    replacements: tuple[tuple[str, str], ...] = ()
    """The first tag of each pair is written as the second."""
    always_first: tuple[str, ...] = ()
    """These tags come to the front where they are taken, in this order."""
    character_tags_first: bool = False
    """Characters' names come before all general tags."""
    character_tag_expand: bool = False
    """A name with its series in brackets is written as two tags."""
    separator: str = SEPARATOR
    """The tags of a caption are separated by this text, which must not be empty."""
    own_thresholds: bool = False
    """Where the model's authors give a threshold for a tag or its category, that one holds; categories
    that are left out stay out."""
    series_from_characters: bool = False
    """The series of each character that is taken is added, where the tagger's list knows it."""
    kohya: bool = False
    """Captions are written exactly as kohya's script writes them."""

    def check(self, problems: Problems) -> None:
        for name in _THRESHOLDS:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                problems.append(f"{name} is {value}, allowed: 0 to 1, or more to take none")
        for name in _BEST:
            problems.one_of(name, getattr(self, name), Place)
        for name in ("undesired", "always_first"):
            problems += list_problems(name, getattr(self, name))
        problems += _replacement_problems(self.replacements)
        problems += separator_problems(self.separator)


def select(probabilities: np.ndarray, labels: Labels, config: TagConfig) -> tuple[Tag, ...]:
    """The tags of one image from its (labels,) probabilities.

    They come in the order of the labels, or by probability where the layout says so; then
    characters go first if asked, quality and rating take their places, rating outermost, and
    `always_first` tags that are there come to the front in their given order.
    """
    if probabilities.shape != (len(labels),):
        raise ValueError(
            f"one probability per label is needed: got shape {probabilities.shape} for "
            f"{len(labels)} labels; the tag list does not belong to this model"
        )
    if config.own_thresholds and labels.limits is None:
        raise ValueError(
            f"no thresholds of its authors lie beside {labels.file}; switch own_thresholds off, or "
            "download the tagger's other files too"
        )
    entries = labels.entries
    found = _above(probabilities, labels, config)
    if config.character_tags_first:
        characters = [i for i in found if entries[i].category == "character"]
        others = [i for i in found if entries[i].category != "character"]
        found = [*(reversed(characters) if config.kohya else characters), *others]
    for category in _BEST:
        place = getattr(config, category)
        best = [] if place == "off" else _likeliest(probabilities, labels, category)
        found = [*best, *found] if place == "first" else [*found, *best]
    spell = _speller(config)
    tags: list[Tag] = []
    for i in found:
        name, category = entries[i]
        if category is not None:
            score = float(probabilities[i])
            tags += [Tag(spelled, category, score) for spelled in spell(name, category)]
    if config.series_from_characters:
        tags += [
            Tag(spelled, "copyright", score)
            for name, score in _series(found, probabilities, labels)
            for spelled in spell(name, "copyright")
        ]
    return tuple(_arranged(tags, config))


def count_tags(pictures: Iterable[Iterable[str]]) -> list[tuple[str, int]]:
    """(tag, number of images with it), most frequent first, ties in order of appearance."""
    return Counter(tag for tags in pictures for tag in dict.fromkeys(tags)).most_common()


def frequency_table(counts: Iterable[tuple[str, int]]) -> str:
    """A head line and one line per tag, its name and count separated by a tab."""
    return "\n".join(["tag\tpictures", *(f"{tag}\t{count}" for tag, count in counts)])


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


def expand_character(name: str, kohya: bool = False) -> tuple[str, ...]:
    """`name_(series)` -> `name`, `series`, split at the last parenthesis; others unchanged.

    `kohya` splits whatever ends with a parenthesis, also when one half is empty.
    """
    head, parenthesis, series = name.rpartition("(")
    head, series = head.removesuffix("_"), series.replace(")", "")
    if name.endswith(")") and (kohya or (parenthesis and head and series)):
        return head, series
    return (name,)


def _above(probabilities: np.ndarray, labels: Labels, config: TagConfig) -> list[int]:
    """Places of the labels at or above the threshold of their category, compared in float32."""
    found: list[int] = []
    for category, name in zip(_ABOVE, _THRESHOLDS, strict=True):
        threshold = getattr(config, name)
        if threshold <= 1:
            places = labels.places(category)
            limits: float | np.ndarray = threshold
            if config.own_thresholds and labels.limits is not None:
                own = labels.limits[places]
                limits = np.where(np.isnan(own), np.float32(threshold), own)
            found += places[probabilities[places] >= limits].tolist()
    found.sort()
    if labels.layout == "json":
        found.sort(key=lambda i: -probabilities[i])
    return found


def _series(
    found: Iterable[int], probabilities: np.ndarray, labels: Labels
) -> list[tuple[str, float]]:
    """The series of the characters found, those of most characters first, then by name.

    Each with the probability of its likeliest character.
    """
    scores: dict[str, list[float]] = {}
    for place in found:
        for name in labels.series.get(place, ()):
            scores.setdefault(name, []).append(float(probabilities[place]))
    names = sorted(scores, key=lambda name: (-len(scores[name]), name))
    return [(name, max(scores[name])) for name in names]


def _likeliest(probabilities: np.ndarray, labels: Labels, category: Category) -> list[int]:
    """The place of a category's likeliest label; nothing takes its place if it is undesired."""
    places = labels.places(category)
    return [int(places[probabilities[places].argmax()])] if places.size else []


@lru_cache(maxsize=2)
def _speller(config: TagConfig) -> Callable[[str, Category], tuple[str, ...]]:
    """How a label's name is written into captions; worked out once for each of thousands of images."""
    targets = {tag_key(source): target for source, target in reversed(config.replacements)}

    @cache
    def spell(name: str, category: Category) -> tuple[str, ...]:
        """The name as the caption shows it: expanded, underscores removed, replaced."""
        expand = config.character_tag_expand and category == "character"
        names = expand_character(name, config.kohya) if expand else (name,)
        if config.kohya:
            names = (config.separator.join(names),)
        if config.remove_underscore:
            names = tuple(spaced(part, config.kohya) for part in names)
        if config.kohya:
            return names
        return tuple(targets.get(tag_key(part), part) for part in names)

    return spell


def _arranged(tags: list[Tag], config: TagConfig) -> list[Tag]:
    """Without undesired and repeated tags, those of `always_first` before all others."""
    alike = str if config.kohya else tag_key
    first = config.always_first[::-1] if config.kohya else config.always_first
    places = {alike(name): place for place, name in reversed(list(enumerate(first)))}
    gone = set(map(alike, config.undesired))
    kept: list[Tag] = []
    for tag in tags:
        key = alike(tag.name)
        if key not in gone:
            kept.append(tag)
        if not config.kohya:
            gone.add(key)
    if places:
        kept.sort(key=lambda tag: places.get(alike(tag.name), len(first)))
    return kept


def _replacement_problems(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    wrong = [
        f"replacement {pair} needs a source and a target; use undesired to remove a tag"
        for pair in pairs
        if len(pair) != 2 or not all(isinstance(side, str) and side.strip() for side in pair)
    ]
    return wrong or list_problems("replacements", [target for _, target in pairs])
