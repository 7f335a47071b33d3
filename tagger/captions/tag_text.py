"""A caption as a list of whole tags: splitting, joining, comparing, and merging new tags in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Generic, Literal, Protocol, TypeVar, get_args

from ...base.caption_notation import NEW_AT_END
from ...base.caption_reader import read_line

MergePolicy = Literal["append", "replace", "skip"]
MERGE_POLICIES: tuple[MergePolicy, ...] = get_args(MergePolicy)
SEPARATOR = ", "
LONGEST_TAG = 2000
"""Characters of a tag that a user may ask for; what is longer is no tag."""

_LONGEST_SEPARATOR = 100
_MOST_WILD = 1000  # entries with * in one list: each is tried on each tag
_ESCAPED_PARENTHESIS = re.compile(r"\\([()])")


Value = TypeVar("Value")


class TagMatch(Protocol):
    """Says whether a whole tag is meant."""

    def __call__(self, tag: str) -> bool: ...


def split_tags(caption: str, separator: str = SEPARATOR) -> list[str]:
    """The tags of a list that a user typed, stripped, empty ones gone; a line break ends a tag as well.

    Those of a caption, which may hold notation: `caption_tags` of `base/caption_reader.py`.
    """
    return _split(caption.replace("\n", separator), separator)


def join_tags(tags: Iterable[str], separator: str = SEPARATOR) -> str:
    """The caption made of the tags."""
    return separator.join(tags)


@lru_cache(maxsize=1 << 16)  # a dataset says the same few thousand tags again and again
def tag_key(tag: str) -> str:
    """What is compared of a tag: no case, underscore equals space, `\\(` equals `(`."""
    plain = _ESCAPED_PARENTHESIS.sub(r"\1", tag).casefold()
    return " ".join(plain.replace("_", " ").split()) or plain


def each_line(caption: str, change: Callable[[str], str]) -> str:
    """The caption with every line changed; those that are or become empty go.

    Several lines are several captions, of which training shows one at a time.
    """
    changed = (change(line) for line in caption.split("\n") if line.strip())
    return "\n".join(filter(None, changed))


def tag_match(*patterns: str) -> TagMatch:
    """A test whether a whole tag is one of these; `*` stands for any text, nothing else is special."""
    wanted = [tag_key(pattern) for pattern in patterns]
    exact = frozenset(key for key in wanted if "*" not in key)
    return partial(_fits, exact, [key.split("*") for key in wanted if "*" in key])


class TagTable(Generic[Value]):
    """Rows of a tag, in which `*` stands for any text, and a value: the first row that fits counts."""

    def __init__(self, rows: Iterable[tuple[str, Value]]) -> None:
        self._exact: dict[str, tuple[int, Value]] = {}
        self._wild: list[tuple[int, list[str], Value]] = []
        self._rows = 0
        for place, (tag, value) in enumerate(rows):
            key = tag_key(tag)
            if "*" in key:
                self._wild.append((place, key.split("*"), value))
            else:
                self._exact.setdefault(key, (place, value))
            self._rows += 1

    def find(self, tag: str, otherwise: Value) -> Value:
        """The value of the first row that a whole tag fits."""
        key = tag_key(tag)
        first, found = self._exact.get(key, (self._rows, otherwise))
        wild = (
            value for place, parts, value in self._wild if place < first and _is_like(key, parts)
        )
        return next(wild, found)


def merge(
    existing: str,
    tags: Sequence[str],
    policy: MergePolicy = "append",
    separator: str = SEPARATOR,
    kohya: bool = False,
) -> str:
    """The caption after tagging: new tags appended, put in its place, or left out if it has text.

    Appending twice gives the same caption: a tag that is there, by `tag_key` and in whatever notation, is
    not added; new ones come behind those that are free to move; each line is a caption of its own. `kohya` compares letter by letter instead, joins the tags again in any
    case, and takes a line break for a part of a tag.
    """
    if policy not in MERGE_POLICIES:
        raise ValueError(
            f"caption policy {policy!r} is not known; choose {', '.join(MERGE_POLICIES)}"
        )
    if policy == "replace" or not existing.strip():
        return join_tags(tags, separator)
    if policy == "skip":
        return existing
    if kohya:
        present = _split(existing, separator)
        there = set(present)
        return join_tags([*present, *(tag for tag in tags if tag not in there)], separator)
    if "\n" in existing:
        return each_line(existing, lambda line: merge(line, tags, policy, separator))
    line = read_line(existing, separator)
    seen = {tag_key(tag) for tag in (*line.tags, *line.whole.values())}
    new: list[str] = []
    for tag in tags:
        # A tag may hold the separator itself (";_;" with ";"): then all its parts must be there.
        keys = _keys(tag, separator)
        if not keys <= seen:
            new.append(tag)
            seen |= keys
    if not new:
        return existing
    old = ((tag, place) for place, tag in enumerate(line.tags))
    return line.write([*old, *((tag, NEW_AT_END) for tag in new)])


@lru_cache(maxsize=1 << 14)
def _keys(tag: str, separator: str) -> frozenset[str]:
    """The `tag_key` of each part of a tag; a dataset says the same few thousand again and again."""
    return frozenset(tag_key(part) for part in split_tags(tag, separator))


def list_problems(name: str, tags: Sequence[str]) -> list[str]:
    """What is wrong with a list of whole tags that a config calls by this name."""
    if isinstance(tags, str):
        return [f"{name} is one text, a tuple of tags is needed"]
    problems = (
        [f"{name} holds an empty tag, take it out"] if any(not t.strip() for t in tags) else []
    )
    if any(len(tag) > LONGEST_TAG for tag in tags):
        problems.append(f"{name} holds a tag of more than {LONGEST_TAG} characters, take it out")
    wild = sum("*" in tag for tag in tags)
    if wild > _MOST_WILD:
        problems.append(f"{name} holds {wild} tags with *, allowed: {_MOST_WILD}")
    return problems


def separator_problems(separator: str) -> list[str]:
    """What is wrong with the text between tags."""
    if not separator:
        return ['separator is empty, give one such as ", "']
    if len(separator) > _LONGEST_SEPARATOR:
        return [f"separator has {len(separator)} characters, allowed: {_LONGEST_SEPARATOR}"]
    return []


def _split(text: str, separator: str) -> list[str]:
    return [tag for part in text.split(separator.strip() or separator) if (tag := part.strip())]


def _fits(exact: frozenset[str], wild: Sequence[Sequence[str]], tag: str) -> bool:
    key = tag_key(tag)
    return key in exact or any(_is_like(key, parts) for parts in wild)


def _is_like(key: str, parts: Sequence[str]) -> bool:
    """Whether a text is made of these parts in their order, with any text between them."""
    first, *middle, last = parts
    place, end = len(first), len(key) - len(last)
    if place > end or not (key.startswith(first) and key.endswith(last)):
        return False
    for part in middle:
        found = key.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True
