"""What Filter Tags is told to do, checked as a whole when it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .patterns import PatternRule, pattern_problem
from .tag_text import SEPARATOR, split_tags, tag_match

CATEGORIES = (
    "general", "character", "copyright", "artist", "meta", "model", "quality", "rating",
)  # fmt: skip
"""The kinds of tags that the taggers tell apart."""


@dataclass(frozen=True)
class FilterConfig:
    """What becomes of the tags; ValueError at construction lists everything wrong at once.

    Order: replace, patterns, remove and `drop_categories`, drop duplicates, `keep_first` to the
    front, rare tags dropped, redundant ones folded, the rest cut to `maximum_tags`, and the trigger
    before all. `*` in a removed or replaced tag stands for any text. The trigger is never replaced,
    removed or dropped; `keep_first` tags are never rare or redundant. With `spare_prose` captions
    that are written in sentences only get the trigger.
    """

    trigger: str = ""
    remove: tuple[str, ...] = ()
    replace: tuple[tuple[str, str], ...] = ()
    keep_first: tuple[str, ...] = ()
    drop_duplicates: bool = True
    minimum_count: int = 1
    maximum_tags: int | None = None
    separator: str = SEPARATOR
    patterns: tuple[PatternRule, ...] = ()
    drop_categories: tuple[str, ...] = ()
    fold_redundant: bool = False
    spare_prose: bool = False

    def __post_init__(self) -> None:
        problems = []
        for name in ("remove", "keep_first"):
            tags = getattr(self, name)
            if isinstance(tags, str):
                problems.append(f"{name} is one text, a tuple of tags is needed")
            elif any(not tag.strip() for tag in tags):
                problems.append(f"{name} holds an empty tag, take it out")
        if not self.separator:
            problems.append('separator is empty, give one such as ", "')
        else:
            problems += _replace_problems(self.replace, self.separator)
        if self.minimum_count < 1:
            problems.append(f"minimum_count is {self.minimum_count}, allowed: 1 (all tags) or more")
        least = len(split_tags(self.trigger, self.separator or SEPARATOR)) or 1
        if self.maximum_tags is not None and self.maximum_tags < least:
            problems.append(
                f"maximum_tags is {self.maximum_tags}, allowed: {least} or more, or None"
            )
        problems += [found for rule in self.patterns if (found := pattern_problem(rule))]
        problems += [
            f"category {name!r} is not known, allowed: {', '.join(CATEGORIES)}"
            for name in self.drop_categories
            if name not in CATEGORIES
        ]
        if problems:
            raise ValueError("filter options: " + "; ".join(problems))


def _replace_problems(pairs: Sequence[tuple[str, str]], separator: str) -> list[str]:
    """Pairs that are no pairs, and chains, whose second run would not equal the first."""
    problems = []
    sound: list[tuple[Callable[[str], bool], str, str]] = []
    for pair in pairs:
        if len(pair) != 2 or not pair[0].strip() or len(split_tags(pair[1], separator)) != 1:
            problems.append(
                f"replace {pair} needs a tag and one tag to put there; use remove to drop"
            )
        else:
            sound.append((tag_match(pair[0]), *pair))
    for _, source, target in sound:
        again = next((other for matches, _, other in sound if matches(target)), target)
        if again != target:
            problems.append(
                f"replace {source!r} by {target!r}, which another rule replaces by {again!r}; "
                "write the last target in both"
            )
    return problems
