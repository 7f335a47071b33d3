"""The filter rules that need no other caption: what becomes of each tag, and in which order they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .filter_config import FilterConfig
from .patterns import Patterns, endless
from .prose import is_prose
from .tag_text import TagTable, join_tags, split_tags, tag_key, tag_match

_MOST_ROUNDS = 10  # of rules on the result of rules, until nothing changes any more
_MOST_TAGS = 1000  # that may come of one, those in between included


class Kept(NamedTuple):
    """A tag of the new caption, and the tag of the old one that it comes from."""

    tag: str
    source: str


class Rewriter:
    """The rules of one filter. Serves a whole dataset: what becomes of a tag is worked out once."""

    def __init__(self, config: FilterConfig) -> None:
        self.trigger = split_tags(config.trigger, config.separator)
        self.places = _places(config.keep_first)
        self._config = config
        self._trigger_keys = [tag_key(tag) for tag in self.trigger]
        self._replaced = TagTable((old, new.strip()) for old, new in config.replace)
        self._patterns = Patterns(config.patterns)
        self._is_removed = tag_match(*config.remove)
        self._known: dict[str, tuple[str, ...]] = {}

    def start_caption(self) -> None:
        """Wind up the clock of the patterns."""
        self._patterns.start_caption()

    def body(self, caption: str, categories: Mapping[str, str]) -> list[Kept]:
        """The tags of a caption by the rules, without the trigger.

        `categories` of tags by `tag_key`; a replaced tag has that of its source unless it has one.
        """
        kept = [
            Kept(new, tag)
            for tag in split_tags(caption, self._config.separator)
            for new in self._becomes(tag)
        ]
        if self._config.drop_categories:
            dropped = set(self._config.drop_categories)
            kept = [item for item in kept if _category(item, categories) not in dropped]
        if self._config.drop_duplicates:
            kept = _unique(kept)
        return sorted(kept, key=lambda item: self.places.get(tag_key(item.tag), len(self.places)))

    def prose(self, caption: str) -> str | None:
        """A caption that is written in sentences with the trigger in front; None for tags."""
        separator, count = self._config.separator, len(self.trigger)
        parts = caption.split(separator.strip() or separator, count)
        if count and [tag_key(part.strip()) for part in parts[:count]] == self._trigger_keys:
            return caption if is_prose("".join(parts[count:])) else None
        if not is_prose(caption):
            return None
        begins = re.match(rf"{re.escape(self._config.trigger)}(?!\w)", caption, re.IGNORECASE)
        return caption if begins else join_tags([*self.trigger, caption], separator)

    def _becomes(self, tag: str) -> tuple[str, ...]:
        """The tags that stand in a tag's place, none if it goes."""
        if tag not in self._known:
            self._known[tag] = tuple(
                new
                for new in self._settled(tag)
                if tag_key(new) not in self._trigger_keys and not self._is_removed(new)
            )
        return self._known[tag]

    def _settled(self, tag: str) -> list[str]:
        """What replacements and patterns make of a tag, applied until they change nothing."""
        settled: list[str] = []
        waiting = [(tag, 0)]  # the next one last
        made = 0
        while waiting:
            tag, rounds = waiting.pop()
            result = self._once(tag)
            if result == tag:
                settled.append(tag)
                continue
            parts = split_tags(result or "", self._config.separator)
            made += len(parts)
            if rounds == _MOST_ROUNDS or made > _MOST_TAGS:
                raise endless(tag)
            waiting += [(part, rounds + 1) for part in reversed(parts)]
        return settled

    def _once(self, tag: str) -> str | None:
        if tag_key(tag) in self._trigger_keys:
            return tag
        target = self._replaced.find(tag, tag)
        return self._patterns.apply(tag) if target == tag else target


def _category(item: Kept, categories: Mapping[str, str]) -> str | None:
    return categories.get(tag_key(item.tag)) or categories.get(tag_key(item.source))


def _unique(items: Sequence[Kept]) -> list[Kept]:
    """The tags without repetitions, the first spelling staying."""
    first: dict[str, Kept] = {}
    for item in items:
        first.setdefault(tag_key(item.tag), item)
    return list(first.values())


def _places(tags: Sequence[str]) -> dict[str, int]:
    """Rank of each tag, the first mention counting."""
    return {tag_key(tag): place for place, tag in reversed(list(enumerate(tags)))}
