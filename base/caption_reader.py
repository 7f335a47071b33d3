"""A caption's tags seen through the notation that training honours.

What is seen through, in one line of a caption:

- marks of three or more: ``|||`` and ``###`` keep what is before them in front (keep_tokens_separator),
  ``;;;`` and the like join tags (secondary_separator);
- wildcards, ``{red|blue} dress``: the tags are those of each choice;
- weights, ``(hat:1.2)``, ``[hat]``, ``(red hair, hat:0.8)``.

Reading is linear in the length of the line, whatever it holds.
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from .caption_notation import Choice, Group, Leaf, Node, TagLine, blanks_at

_MARKS = (r"\|{3,}", r"#{3,}", r";{3,}", r"&{3,}", r"\${3,}", r"%{3,}", r"~{3,}", r"@{3,}")
_SECTIONS = "|||", "###"
_HINT = re.compile(r"[(\[{|#;&$%~@]")
_ANY_MARK = re.compile("|".join(_MARKS))
_BRACES = re.compile(r"\{\{|\}\}|\{|\}")
_BRACKETS = re.compile(r"\\.|[()\[\]]", re.DOTALL)
_WEIGHT = re.compile(r":[ ]?[+-]?[.\d]{1,20}[ ]?\Z")
_WEIGHTED = re.compile(r"\(([^()]*):[ ]?[+-]?[.\d]{1,20}[ ]?\)")
_PAIRS = {")": "(", "]": "["}
_DEEPEST = 8  # brackets in brackets
_MOST_CHOICES = 32  # of all wildcards of one tag


def read_line(line: str, separator: str) -> TagLine:
    """The tags of one line of a caption, empty ones gone, and where they stand."""
    found, split_at = TagLine(separator), separator.strip() or separator
    if not (_HINT.search(line) and _notation(split_at).search(line)):  # the first is much faster
        found.tags += [tag for part in line.split(split_at) if (tag := part.strip())]
        found.choices += [-1] * len(found.tags)
        return found
    found.sections.append([])
    _Reader(line, split_at, found).read_sections()
    return found


def caption_tags(caption: str, separator: str = ",") -> list[str]:
    """The tags of all lines of a caption, seen through its notation."""
    return [tag for line in caption.split("\n") for tag in read_line(line, separator).tags]


def spoken(caption: str) -> str:
    """The caption with marks as commas, without weights, and with the first choice of each wildcard."""
    text = _WEIGHTED.sub(r"\1", _ANY_MARK.sub(", ", caption))
    return "".join(choices[0] for choices in _alternatives(text, 0, len(text), _wildcards(text)))


def _leaf(line: TagLine, tag: str, choice: int) -> Leaf:
    line.tags.append(tag)
    line.choices.append(choice)
    return Leaf(len(line.tags) - 1)


class _Reader:
    """Reads one text, a line or a choice of a wildcard, into a line's tags."""

    def __init__(
        self, text: str, split_at: str, line: TagLine, choice: int = -1, depth: int = 0
    ) -> None:
        self._text, self._split_at, self._line = text, split_at, line
        self._choice, self._depth = choice, depth
        self._closing, self._wildcards = _brackets(text), _wildcards(text)
        self._wildcard_ends = dict(self._wildcards)
        self._special, self._end = _special(split_at)

    def read_sections(self) -> None:
        """The whole line, into the line's sections."""
        parts: list[tuple[Node | None, str]] = []
        for start, end, joint in self._units(0, len(self._text)):
            is_section = any(mark in joint for mark in _SECTIONS)
            parts.append((self._node(start, end), "" if is_section else joint))
            if is_section:
                self._line.sections[-1] += _joined(parts)
                self._line.sections.append([])
                self._line.marks.append(joint)
                parts = []
        self._line.sections[-1] += _joined(parts)

    def nodes(self, start: int, end: int) -> tuple[Node, ...]:
        """The nodes of a part of the text."""
        units = self._units(start, end)
        return tuple(_joined([(self._node(first, last), joint) for first, last, joint in units]))

    def _units(self, start: int, end: int) -> Iterable[tuple[int, int, str]]:
        """Where each part between separators and marks begins and ends, and the mark behind it with the
        blanks around it, or ""."""
        begin, skip = start, start
        for found in self._special.finditer(self._text, start, end):
            place = found.start()
            if place < skip:
                continue
            if found[0] in ("(", "["):
                if not self._text[begin:place].strip() and self._is_wrapped(place, end):
                    skip = self._closing[place] + 1
            elif found[0] == "{":
                skip = self._wildcard_ends.get(place, place)
            elif found[0] == self._split_at:
                yield begin, place, ""
                begin = skip = found.end()
            else:
                left, right = self._blanks(place, found.end(), begin, end)
                yield begin, place, self._text[left:right]
                begin = skip = right
        yield begin, end, ""

    def _blanks(self, left: int, right: int, begin: int, end: int) -> tuple[int, int]:
        """The place of a mark with the blanks and separators around it."""
        blanks = blanks_at(self._split_at)
        while left > begin and self._text[left - 1] in blanks:
            left -= 1
        while right < end and self._text[right] in blanks:
            right += 1
        return left, right

    def _is_wrapped(self, place: int, end: int) -> bool:
        """Whether the bracket that opens here encloses a whole part, and something to read in it."""
        close = self._closing.get(place, end)
        inside = self._text[place + 1 : min(close, place + 200)]
        return (
            close < end
            and self._depth < _DEEPEST
            and self._end.match(self._text, close + 1, end) is not None
            and any(map(str.isalnum, inside))
        )

    def _node(self, start: int, end: int) -> Node | None:
        text = self._text[start:end]
        tag = text.strip()
        if not tag:
            return None
        start += len(text) - len(text.lstrip())
        end = start + len(tag)
        if tag[0] in "([" and self._closing.get(start) == end - 1 and self._is_wrapped(start, end):
            return self._wrapped(start, end)
        if _within(self._wildcards, start, end) and "{{" not in tag:
            choice = self._wildcard(start, end)
            if choice is not None:
                return choice
        return _leaf(self._line, tag, self._choice)

    def _wrapped(self, start: int, end: int) -> Node:
        inner = self._text[start + 1 : end - 1]
        weight = _WEIGHT.search(inner) if self._text[start] == "(" else None
        close = start + 1 + (weight.start() if weight else len(inner))
        first = len(self._line.tags)
        self._depth += 1
        nodes = self.nodes(start + 1, close)
        self._depth -= 1
        if len(self._line.tags) == first + 1 and self._choice < 0:
            self._line.whole[first] = self._text[start:end]
        joints = ("",) * len(nodes)
        return Group(self._text[start], nodes, self._text[close:end], joints)

    def _wildcard(self, start: int, end: int) -> Choice | None:
        parts = list(_alternatives(self._text, start, end, self._wildcards))
        if math.prod(map(len, parts)) > _MOST_CHOICES or self._depth >= _DEEPEST:
            return None
        first, choices = len(self._line.tags), []
        number = self._choice if self._choice >= 0 else first
        for choice in itertools.product(*parts):
            text = "".join(choice)
            reader = _Reader(text, self._split_at, self._line, number, self._depth + 1)
            choices.append(reader.nodes(0, len(text)))
        places = range(first, len(self._line.tags))
        return Choice(self._text[start:end], tuple(choices), places) if places else None


def _joined(parts: Iterable[tuple[Node | None, str]]) -> list[Node]:
    """The nodes, those with a mark between them as one group; behind each its mark or ""."""
    found: list[Node] = []
    run: list[tuple[Node, str]] = []
    for node, mark in parts:
        if node is not None:
            run.append((node, mark))
        elif mark and run:
            run[-1] = run[-1][0], mark
        if run and not mark:
            nodes, marks = zip(*run, strict=True)
            found.append(
                nodes[0] if len(nodes) == 1 and not marks[0] else Group("", nodes, "", marks)
            )
            run = []
    if run:
        nodes, marks = zip(*run, strict=True)
        found.append(nodes[0] if len(nodes) == 1 and not marks[0] else Group("", nodes, "", marks))
    return found


@lru_cache(maxsize=8)
def _notation(split_at: str) -> re.Pattern[str]:
    """Found in lines that may hold notation: brackets count where a part begins."""
    marks = "|".join(_MARKS)
    return re.compile(rf"(?:\A|{re.escape(split_at)})\s*[(\[]|\{{|{marks}")


@lru_cache(maxsize=8)
def _special(split_at: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What ends a part of a line or begins notation in it, and what may follow a closing bracket."""
    marks = [mark for mark in _MARKS if not re.fullmatch(mark, split_at[0] * 3)]
    ends = "|".join([*marks, re.escape(split_at)])
    return re.compile(rf"[(\[{{]|{ends}"), re.compile(rf"[ \t]*(?:{ends}|\Z)")


def _brackets(text: str) -> dict[int, int]:
    """Where the bracket that opens at a place is closed; those behind a backslash are letters."""
    found, waiting = {}, {"(": [], "[": []}
    for match in _BRACKETS.finditer(text):
        letter = match[0]
        if letter in waiting:
            waiting[letter].append(match.start())
        elif letter in _PAIRS and waiting[_PAIRS[letter]]:
            found[waiting[_PAIRS[letter]].pop()] = match.start()
    return found


def _wildcards(text: str) -> list[tuple[int, int]]:
    """Where wildcards begin and end: from the first brace that opens to the first that closes, as in kohya."""
    found: list[tuple[int, int]] = []
    start = None
    for match in _BRACES.finditer(text):
        if match[0] == "{" and start is None:
            start = match.start()
        elif match[0] == "}" and start is not None and match.start() > start + 1:
            found.append((start, match.end()))
            start = None
    return found


def _within(
    wildcards: Sequence[tuple[int, int]], start: int, end: int
) -> Sequence[tuple[int, int]]:
    """Those that lie in a part of the text."""
    first = bisect.bisect_left(wildcards, (start, start))
    return wildcards[first : bisect.bisect_left(wildcards, (end, end), first)]


def _alternatives(
    text: str, start: int, end: int, wildcards: Sequence[tuple[int, int]]
) -> Iterable[list[str]]:
    """A part of the text in pieces, each with its alternatives: one outside of wildcards."""
    place = start
    for begin, close in _within(wildcards, start, end):
        yield [text[place:begin]]
        yield text[begin + 1 : close - 1].split("|")
        place = close
    yield [text[place:end]]
