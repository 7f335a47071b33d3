"""The filter rules that need no other caption: what becomes of each tag, and in which order they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...base.caption_notation import NEW_IN_FRONT, TagLine
from ...base.caption_reader import read_line
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


class Placed(NamedTuple):
    """The same with the ``place`` of the old tag in its line, and the number of the wildcard whose choice it
    is, or -1."""

    tag: str
    source: str
    place: int = NEW_IN_FRONT
    choice: int = -1


class Body(NamedTuple):
    """The tags of a line by the rules, and the line that they came from; ``bare`` have lost their brackets."""

    kept: list[Placed]
    line: TagLine
    bare: frozenset[int] = frozenset()

    def text(self, trigger: Sequence[str], keys: Sequence[str]) -> str:
        """The line with these tags, the trigger in front: where it stands already, else in its own brackets.

        ``keys`` are those of the trigger's tags without brackets.
        """
        is_plain = [tag_key(tag) for tag in trigger] == [*keys]
        if is_plain and [*keys] == [tag_key(tag) for tag in self.line.tags[: len(keys)]]:
            new = [(tag, place) for place, tag in enumerate(trigger)]
        else:
            whole = {tag_key(self.line.tags[p]): text for p, text in self.line.whole.items()}
            spelled = [whole.get(tag_key(tag), tag) for tag in trigger]
            new = [(tag, NEW_IN_FRONT) for tag in spelled]
        return self.line.write([*new, *((i.tag, i.place) for i in self.kept)], self.bare)


class Rewriter:
    """The rules of one filter. Serves a whole dataset: what becomes of a tag is worked out once."""

    def __init__(self, config: FilterConfig) -> None:
        self.trigger = split_tags(config.trigger, config.separator)
        self.places = _places(config.keep_first)
        self._config = config
        self.trigger_keys = [_seen_key(tag, config.separator) for tag in self.trigger]
        self._replaced = TagTable((old, new.strip()) for old, new in config.replace)
        self._patterns = Patterns(config.patterns)
        self._is_removed = tag_match(*config.remove)
        self._known: dict[str, tuple[str, ...]] = {}

    def start_caption(self) -> None:
        """Wind up the clock of the patterns."""
        self._patterns.start_caption()

    def body(self, caption: str, categories: Mapping[str, str]) -> Body:
        """The tags of a line of a caption by the rules, without the trigger, seen through its notation.

        `categories` of tags by `tag_key`; a replaced tag has that of its source unless it has one.
        """
        line = read_line(caption, self._config.separator)
        becomes = [self._becomes(tag) for tag in line.tags]
        bare = {}
        for place, whole in line.whole.items():  # rules may be about the brackets, too
            if becomes[place] == (line.tags[place],) and self._becomes(whole) != (whole,):
                bare[place] = becomes[place] = self._becomes(whole)
        kept = [
            Placed(new, tag, place, line.choices[place])
            for place, tag in enumerate(line.tags)
            for new in becomes[place]
        ]
        if self._config.drop_categories:
            dropped = set(self._config.drop_categories)
            kept = [item for item in kept if _category(item, categories) not in dropped]
        if self._config.drop_duplicates:
            kept = _unique(kept)
        kept.sort(key=lambda item: self.places.get(tag_key(item.tag), len(self.places)))
        return Body(kept, line, frozenset(bare))

    def prose(self, caption: str) -> str | None:
        """A caption that is written in sentences with the trigger in front; None for tags."""
        separator, count = self._config.separator, len(self.trigger)
        parts = caption.split(separator.strip() or separator, count)
        if count and [tag_key(part.strip()) for part in parts[:count]] == self.trigger_keys:
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
                if tag_key(new) not in self.trigger_keys and not self._is_removed(new)
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
        if tag_key(tag) in self.trigger_keys:
            return tag
        target = self._replaced.find(tag, tag)
        return self._patterns.apply(tag) if target == tag else target


def _seen_key(tag: str, separator: str) -> str:
    """The `tag_key` of a tag without its brackets."""
    line = read_line(tag, separator)
    return tag_key(line.tags[0] if len(line.tags) == 1 else tag)


def _category(item: Placed, categories: Mapping[str, str]) -> str | None:
    return categories.get(tag_key(item.tag)) or categories.get(tag_key(item.source))


def _unique(items: Sequence[Placed]) -> list[Placed]:
    """The tags without repetitions, the first spelling staying; choices of wildcards, of which one is shown, all."""
    first: dict[str, Placed] = {}
    for item in items:
        if item.choice < 0:
            first.setdefault(tag_key(item.tag), item)
    return [item for item in items if item.choice >= 0 or first[tag_key(item.tag)] is item]


def _places(tags: Sequence[str]) -> dict[str, int]:
    """Rank of each tag, the first mention counting."""
    return {tag_key(tag): place for place, tag in reversed(list(enumerate(tags)))}
