"""What Filter Tags is told to do, checked as a whole when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...base.config import Config, Problems
from .patterns import PatternRule, pattern_problems
from .tag_text import SEPARATOR, TagTable, list_problems, separator_problems, split_tags

CATEGORIES = (
    "general", "character", "copyright", "artist", "meta", "model", "quality", "rating",
)  # fmt: skip
"""The kinds of tags that the taggers tell apart."""

_LONGEST_TRIGGER = 1000


@dataclass(frozen=True)
class FilterConfig(Config):
    """What becomes of the tags.

    Order: replace, patterns, remove and `drop_categories`, drop duplicates, `keep_first` to the
    front, rare tags dropped, redundant ones folded, the rest cut to `maximum_tags`, and the trigger
    before all. `*` in a removed or replaced tag stands for any text. The trigger is never replaced,
    removed or dropped; `keep_first` tags are never rare or redundant. With `spare_prose` captions
    that are written in sentences only get the trigger.
    """

    title = "Filter options"

    trigger: str = ""
    """This tag, or these, stand at the front of every caption; empty for none."""
    remove: tuple[str, ...] = ()
    """These tags are taken out of every caption."""
    replace: tuple[tuple[str, str], ...] = ()
    """The first tag of each pair is replaced by the second, which no other pair may replace again."""
    keep_first: tuple[str, ...] = ()
    """These tags come to the front of the captions that have them, in this order."""
    drop_duplicates: bool = True
    """Of tags that a caption has several times the first alone stays."""
    minimum_count: int = 1
    """Tags that fewer captions than this have are dropped; 1 keeps all."""
    maximum_tags: int | None = None
    """A caption has at most so many tags, with room for the trigger's; None for no limit."""
    separator: str = SEPARATOR
    """The tags of a caption are separated by this text, which must not be empty."""
    patterns: tuple[PatternRule, ...] = ()
    """Tags that match one of these regular expressions are removed or replaced."""
    drop_categories: tuple[str, ...] = ()
    """Tags of these kinds, of those in `CATEGORIES`, are dropped."""
    fold_redundant: bool = False
    """Tags that another tag of the caption implies are dropped."""
    spare_prose: bool = False
    """Captions that are written in sentences get the trigger and nothing else."""

    def check(self, problems: Problems) -> None:
        problems.need(
            len(self.trigger) <= _LONGEST_TRIGGER,
            f"trigger has {len(self.trigger)} characters, allowed: {_LONGEST_TRIGGER}",
        )
        for name in ("remove", "keep_first"):
            problems += list_problems(name, getattr(self, name))
        problems += separator_problems(self.separator)
        if self.separator:
            problems += _replace_problems(self.replace, self.separator)
        problems.need(
            self.minimum_count >= 1,
            f"minimum_count is {self.minimum_count}, allowed: 1 (all tags) or more",
        )
        least = len(split_tags(self.trigger, self.separator or SEPARATOR)) or 1
        problems.need(
            self.maximum_tags is None or self.maximum_tags >= least,
            f"maximum_tags is {self.maximum_tags}, allowed: {least} or more, or None",
        )
        problems += pattern_problems(self.patterns)
        problems += [
            f"category {name!r} is not known, allowed: {', '.join(CATEGORIES)}"
            for name in self.drop_categories
            if name not in CATEGORIES
        ]


def _replace_problems(pairs: Sequence[tuple[str, str]], separator: str) -> list[str]:
    """Pairs that are no pairs, and chains, whose second run would not equal the first."""
    problems = list_problems("replace", [side for pair in pairs for side in pair if side.strip()])
    sound: list[tuple[str, str]] = []
    for pair in pairs:
        if len(pair) != 2 or not pair[0].strip() or len(split_tags(pair[1], separator)) != 1:
            problems.append(
                f"replace {pair} needs a tag and one tag to put there; use remove to drop"
            )
        else:
            sound.append(pair)
    table = TagTable(sound)
    for source, target in sound if not problems else ():
        again = table.find(target, target)
        if again != target:
            problems.append(
                f"replace {source!r} by {target!r}, which another rule replaces by {again!r}; "
                "write the last target in both"
            )
    return problems
