"""A line of a caption as tags in their notation, and the line written again with other tags in it.

What is notation, and how it is read: `base/caption_reader.py`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

NEW_IN_FRONT, NEW_AT_END = -1, -2
"""Places of tags that a caption did not have: before all others, and behind those that are free to move."""


@dataclass(frozen=True)
class Leaf:
    """A tag, by its place among those of the line."""

    place: int


@dataclass(frozen=True)
class Group:
    """Nodes between two texts; behind each the text that joins it to the next, "" for the separator."""

    before: str
    nodes: tuple[Node, ...]
    after: str
    joints: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """Wildcards as they stand in the line, and the nodes of each choice."""

    text: str
    choices: tuple[tuple[Node, ...], ...]
    places: range


Node = Leaf | Group | Choice


@dataclass
class TagLine:
    """One line of a caption.

    ``tags`` in their order; ``choices``, of each the number of the wildcard that it is a choice of, or
    -1; ``whole``, by the place of a tag that stands alone in brackets, the text with them;
    ``sections``, nodes between ``marks``, none where the line has no notation.
    """

    separator: str
    tags: list[str] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    whole: dict[int, str] = field(default_factory=dict)
    sections: list[list[Node]] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)

    def write(self, items: Iterable[tuple[str, int]], bare: Iterable[int] = ()) -> str:
        """The line with these tags, each with the place of the one that it stands for; others go.

        Their order counts as far as marks, wildcards and brackets leave one. ``bare`` places stand
        without their brackets.
        """
        if not self.sections:
            return self.separator.join(_in_order(items))
        texts: dict[int, list[str]] = defaultdict(list)
        ranks: dict[int, list[int]] = defaultdict(list)
        for rank, (tag, place) in enumerate(items):
            texts[place].append(tag)
            ranks[place].append(rank)
        last = min(1, len(self.sections) - 1)
        lines = []
        for number, section in enumerate(self.sections):
            shown: list[tuple[int, str]] = []
            for node in section:
                if isinstance(node, Leaf):  # each of its tags may have gone elsewhere
                    shown += zip(ranks.get(node.place, ()), texts.get(node.place, ()), strict=True)
                elif text := self._written(node, texts, frozenset(bare)):
                    first = min(rank for place in _places(node) for rank in ranks.get(place, ()))
                    shown.append((first, text))
            parts = [text for _, text in sorted(shown, key=lambda pair: pair[0])]
            parts = [*(texts[NEW_IN_FRONT] if number == 0 else ()), *parts]
            lines.append(
                self.separator.join([*parts, *(texts[NEW_AT_END] if number == last else ())])
            )
        if not any(lines):
            return ""
        blanks = blanks_at(self.separator.strip())
        marks = [*self.marks, ""]
        for number, (line, section) in enumerate(zip(lines[:-1], self.sections, strict=False)):
            if not (line and section):  # nothing is between this mark and the one before
                marks[number] = (" " if line else "") + marks[number].lstrip(blanks)
        if self.marks and not (lines[-1] and self.sections[-1]):
            marks[-2] = marks[-2].rstrip(blanks) + (" " if lines[-1] else "")
        return "".join(itertools.chain.from_iterable(zip(lines, marks, strict=True)))

    def _written(self, node: Node, texts: Mapping[int, list[str]], bare: frozenset[int]) -> str:
        """A node with the tags that stand in it now, "" without any."""
        if isinstance(node, Leaf):
            return self.separator.join(texts.get(node.place, ()))
        if isinstance(node, Choice):
            if all(texts.get(place) == [self.tags[place]] for place in node.places):
                return node.text
            return self._chosen(node, texts, bare)
        text, joint, shown = "", "", ""
        for part, following in zip(node.nodes, node.joints, strict=True):
            if shown := self._written(part, texts, bare):
                text += (joint or self.separator if text else "") + shown
                joint = following
        text += joint if shown else ""  # nothing follows it in the line either
        is_bare = any(place in bare for place in _places(node))
        return f"{node.before}{text}{node.after}" if text and not is_bare else text

    def _chosen(self, node: Choice, texts: Mapping[int, list[str]], bare: frozenset[int]) -> str:
        found: dict[str, None] = {}
        for nodes in node.choices:
            parts = [shown for part in nodes if (shown := self._written(part, texts, bare))]
            if parts or not nodes:
                found[self.separator.join(parts)] = None
        if not any(found):
            return ""
        return "{" + "|".join(found) + "}" if len(found) > 1 else next(iter(found))


def _in_order(items: Iterable[tuple[str, int]]) -> list[str]:
    """The tags alone, those that are new where they belong."""
    front, kept, end = [], [], []
    for tag, place in items:
        (kept if place >= 0 else front if place == NEW_IN_FRONT else end).append(tag)
    return [*front, *kept, *end]


def blanks_at(separator: str) -> str:
    """The letters around a mark that belong to it: blanks, and a separator of one letter."""
    return f" \t{separator if len(separator) == 1 else ''}"


def _places(node: Node) -> Iterable[int]:
    if isinstance(node, Leaf):
        return (node.place,)
    if isinstance(node, Choice):
        return node.places
    return itertools.chain.from_iterable(map(_places, node.nodes))
