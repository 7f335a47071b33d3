"""Finds the tags of a dataset that describe who is shown, and takes them out of captions if asked.

Whether they should go is disputed; nothing here prefers one way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from ...base.caption_reader import caption_tags, read_line
from ...base.config import Config, Problems
from .identity_words import IDENTITY, NOT_IDENTITY, IdentityKind
from .prose import is_prose
from .tag_text import (
    SEPARATOR,
    TagMatch,
    each_line,
    list_problems,
    split_tags,
    tag_key,
    tag_match,
)

IdentityPolicy = Literal["keep", "prune", "hybrid"]
IDENTITY_POLICIES: tuple[IdentityPolicy, ...] = get_args(IdentityPolicy)
IDENTITY_KINDS: tuple[IdentityKind, ...] = get_args(IdentityKind)


_EXACT: dict[str, IdentityKind] = {
    tag: kind for kind, tags in IDENTITY.items() for tag in tags if "*" not in tag
}
_is_exception = tag_match(*NOT_IDENTITY)
_IS_KIND: dict[IdentityKind, TagMatch] = {
    kind: tag_match(*patterns) for kind, patterns in IDENTITY.items()
}


@dataclass(frozen=True)
class IdentityConfig(Config):
    """Which tags are proposed: those of `kinds` or in `extra` in at least `percent` of the captions.

    `*` in an excluded or extra tag stands for any text.
    """

    title = "Identity tags"

    percent: int = 50
    """A tag is proposed if at least this share of the captions has it, 1 to 100 percent."""
    kinds: tuple[IdentityKind, ...] = IDENTITY_KINDS
    """Tags that tell of these traits are proposed."""
    exclude: tuple[str, ...] = ()
    """These tags are never proposed."""
    extra: tuple[str, ...] = ()
    """These tags are proposed as well, whatever they tell of."""

    def check(self, problems: Problems) -> None:
        for name in ("exclude", "extra"):
            problems += list_problems(name, getattr(self, name))
        problems.need(1 <= self.percent <= 100, f"percent is {self.percent}, allowed: 1 to 100")
        unknown = set(self.kinds) - set(IDENTITY_KINDS)
        problems.need(
            not unknown, f"unknown kinds {sorted(unknown)}, allowed: {', '.join(IDENTITY_KINDS)}"
        )


class IdentityTag(NamedTuple):
    """A tag of identity kind (or extra) in its commonest spelling, and how many captions have it."""

    tag: str
    kind: str
    captions: int


class Identity(NamedTuple):
    """What was found in `captions` captions; those in sentences (`prose`) are not among them."""

    captions: int
    prose: int
    proposed: tuple[IdentityTag, ...]
    rarer: tuple[IdentityTag, ...]


def identity_kind(tag: str) -> IdentityKind | None:
    """What a tag tells of a character's identity, None if nothing; danbooru's general tags are known."""
    key = tag_key(tag)
    if key in _EXACT:
        return _EXACT[key]
    if _is_exception(key):
        return None
    return next((kind for kind, matches in _IS_KIND.items() if matches(key)), None)


def find_identity(
    captions: Sequence[str],
    config: IdentityConfig,
    categories: Sequence[Mapping[str, str]] | None = None,
    trigger: str = "",
) -> Identity:
    """Count the captions' identity tags, commonest first.

    `categories` has the kinds of each caption's tags by `tag_key`; tags that are known not to be
    general are left aside, and so is the trigger.
    """
    aside = {tag_key(tag) for tag in split_tags(trigger)}
    spellings: dict[str, Counter[str]] = {}
    prose = 0
    for place, caption in enumerate(captions):
        if is_prose(caption):
            prose += 1
            continue
        kinds = categories[place] if categories else {}
        for key, tag in {tag_key(tag): tag for tag in caption_tags(caption)}.items():
            if key not in aside and kinds.get(key, "general") == "general":
                spellings.setdefault(key, Counter())[tag] += 1
    is_excluded, is_extra = tag_match(*config.exclude), tag_match(*config.extra)

    def proposed(key: str) -> str | None:
        if is_excluded(key):
            return None
        kind = "extra" if is_extra(key) else identity_kind(key)
        return kind if kind in (*config.kinds, "extra") else None

    found = [
        IdentityTag(spelled.most_common(1)[0][0], kind, spelled.total())
        for key, spelled in sorted(spellings.items(), key=lambda item: -item[1].total())
        if (kind := proposed(key))
    ]
    total = len(captions) - prose
    enough = [tag for tag in found if tag.captions * 100 >= config.percent * total]
    return Identity(total, prose, tuple(enough), tuple(found[len(enough) :]))


def prune(caption: str, keys: Collection[str]) -> str:
    """The caption without the tags of these `tag_key`s, its notation kept; as it is if it has none or is prose."""
    if "\n" in caption:
        return each_line(caption, lambda line: prune(line, keys))
    line = read_line(caption, SEPARATOR)
    kept = [(tag, place) for place, tag in enumerate(line.tags) if tag_key(tag) not in keys]
    return caption if len(kept) == len(line.tags) or is_prose(caption) else line.write(kept)
