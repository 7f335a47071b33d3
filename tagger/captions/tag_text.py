"""A caption as a list of whole tags: splitting, joining, comparing, and merging new tags in."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Literal, Protocol, get_args

from ...base.caption_notation import NEW_AT_END
from ...base.caption_reader import read_line

MergePolicy = Literal["append", "replace", "skip"]
MERGE_POLICIES: tuple[MergePolicy, ...] = get_args(MergePolicy)
SEPARATOR = ", "

_ESCAPED_PARENTHESIS = re.compile(r"\\([()])")


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
    literal = (key.replace("[", "[[]").replace("?", "[?]") for key in wanted if "*" in key)
    wild = re.compile("|".join(map(fnmatch.translate, literal)) or r"(?!)")
    return partial(_fits, exact, wild)


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
        return join_tags([*present, *(tag for tag in tags if tag not in present)], separator)
    if "\n" in existing:
        return each_line(existing, lambda line: merge(line, tags, policy, separator))
    line = read_line(existing, separator)
    seen = {tag_key(tag) for tag in (*line.tags, *line.whole.values())}
    new: list[str] = []
    for tag in tags:
        # A tag may hold the separator itself (";_;" with ";"): then all its parts must be there.
        keys = {tag_key(part) for part in split_tags(tag, separator)}
        if not keys <= seen:
            new.append(tag)
            seen |= keys
    if not new:
        return existing
    old = ((tag, place) for place, tag in enumerate(line.tags))
    return line.write([*old, *((tag, NEW_AT_END) for tag in new)])


def list_problems(name: str, tags: Sequence[str]) -> list[str]:
    """What is wrong with a list of whole tags that a config calls by this name."""
    if isinstance(tags, str):
        return [f"{name} is one text, a tuple of tags is needed"]
    return [f"{name} holds an empty tag, take it out"] if any(not t.strip() for t in tags) else []


def _split(text: str, separator: str) -> list[str]:
    return [tag for part in text.split(separator.strip() or separator) if (tag := part.strip())]


def _fits(exact: frozenset[str], wild: re.Pattern[str], tag: str) -> bool:
    key = tag_key(tag)
    return key in exact or wild.match(key) is not None
