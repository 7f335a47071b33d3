"""Regular expressions on whole tags: reading them, refusing dangerous ones, running them in bounded time.

A workflow may come from anywhere, so a pattern may take neither the machine's time nor its memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import regex

from .tag_text import LONGEST_TAG

SECONDS_PER_CAPTION = 0.5
ARROW = "=>"

_LONGEST_PATTERN = 500
_MOST_PATTERNS = 200
_MOST_REPEATS = 1000  # counted repeats are unrolled when compiled: nested ones fill the memory
_BRACES = regex.compile(r"\{([^}]*)")
_FLAGS = regex.IGNORECASE


class PatternRule(NamedTuple):
    """A regular expression for whole tags, and what is put in their place; None removes them."""

    pattern: str
    replacement: str | None = None


def parse_patterns(text: str) -> tuple[PatternRule, ...]:
    """One rule a line: `pattern` removes a tag, `pattern => text` replaces it."""
    rules = []
    for line in filter(str.strip, text.splitlines()):
        pattern, arrow, replacement = line.partition(f" {ARROW}")
        rules.append(PatternRule(pattern.strip(), replacement.strip() if arrow else None))
    return tuple(rules)


def pattern_problem(rule: PatternRule) -> str | None:
    """What is wrong with a rule, for the user; None if it may run."""
    shown = f"'{rule.pattern}'"  # as typed: repr would double every backslash
    if not rule.pattern:
        return f"pattern in front of {ARROW} '{rule.replacement}' is empty"
    if len(rule.pattern) > _LONGEST_PATTERN:
        return (
            f"pattern {shown} has {len(rule.pattern)} characters, allowed: {_LONGEST_PATTERN}; "
            "write several, one a line"
        )
    if len(rule.replacement or "") > _LONGEST_PATTERN:
        return (
            f"the replacement of pattern {shown} has {len(rule.replacement or '')} characters, allowed: "
            f"{_LONGEST_PATTERN}"
        )
    repeats = _unrolled(rule.pattern)
    if repeats > _MOST_REPEATS:
        return (
            f"pattern {shown} repeats up to {repeats} times, allowed: {_MOST_REPEATS}; use * or + "
            "in place of large numbers in {}"
        )
    try:
        _try_replacement(regex.compile(rule.pattern, _FLAGS), rule.replacement or "")
    except (regex.error, IndexError, RecursionError, OverflowError) as error:
        return f"pattern {shown} is no valid regular expression or replacement: {error}"
    return None


def pattern_problems(rules: Sequence[PatternRule]) -> list[str]:
    """What is wrong with rules, for the user; nothing is compiled when there are too many."""
    if len(rules) > _MOST_PATTERNS:
        return [f"there are {len(rules)} patterns, allowed: {_MOST_PATTERNS}; join some with |"]
    return [found for rule in rules if (found := pattern_problem(rule))]


class Patterns:
    """Compiled rules with a clock: all tags of one caption share `SECONDS_PER_CAPTION`."""

    def __init__(self, rules: Iterable[PatternRule]) -> None:
        self._rules = [(rule, regex.compile(rule.pattern, _FLAGS)) for rule in rules]
        self._left: float | None = None

    def start_caption(self) -> None:
        """Wind up the clock."""
        self._left = SECONDS_PER_CAPTION

    def apply(self, tag: str) -> str | None:
        """What the first rule that changes the tag makes of it; None if it is removed.

        ValueError names a pattern that takes too long or whose result has no end.
        """
        for rule, compiled in self._rules:
            try:
                match = self._match(compiled, tag)
            except TimeoutError:
                raise ValueError(
                    f"the pattern '{rule.pattern}' takes longer than {SECONDS_PER_CAPTION:g} s on "
                    f"one caption, at the tag {tag[:100]!r}; nested repeats such as (a+)+ do that: "
                    "write it more simply"
                ) from None
            if match is None:
                continue
            if rule.replacement is None:
                return None
            result = match.expand(rule.replacement).strip()
            if len(result) > LONGEST_TAG:
                raise endless(tag, rule)
            if result != tag:
                return result or None
        return tag

    def _match(self, compiled: regex.Pattern, tag: str) -> regex.Match | None:
        """The match of a whole tag; its time is taken from what is left. TimeoutError when nothing is."""
        if self._left is None:
            return compiled.fullmatch(tag)
        if self._left <= 0:
            raise TimeoutError
        begun = time.monotonic()
        match = compiled.fullmatch(tag, timeout=self._left)
        self._left -= time.monotonic() - begun
        return match


def endless(tag: str, rule: PatternRule | None = None) -> ValueError:
    """The error for a tag that rules change again and again."""
    named = f"the pattern '{rule.pattern}' changes" if rule else "the replacements change"
    return ValueError(
        f"{named} the tag {tag[:100]!r} again and again; write them so that the result is not "
        "matched any more"
    )


def _unrolled(pattern: str) -> int:
    """The product of all counts in braces: as many copies may be made of what they repeat.

    Everything up to the closing brace is looked at, since verbose patterns may hold blanks there.
    """
    repeats = 1
    for content in _BRACES.findall(pattern):
        digits = ("".join(filter(str.isdecimal, part)) for part in content.split(","))
        repeats *= max(1, *(int(number or 1) for number in digits), 1)
    return repeats


def _try_replacement(compiled: regex.Pattern, replacement: str) -> None:
    """Fill in the replacement for a match with the same groups, all empty."""
    names = {number: name for name, number in compiled.groupindex.items()}
    groups = (f"(?P<{names[n]}>)" if n in names else "()" for n in range(1, compiled.groups + 1))
    match = regex.match("".join(groups), "")
    if match is not None:
        match.expand(replacement)
