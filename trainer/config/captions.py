"""How captions are read at each step: shuffling, dropout, wildcards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ...base.config import Config, Problems

Joining = Literal["separator", "kohya"]
"""How tags are joined again: by the separator and a space, or as sd-scripts did until June 2026, by a comma."""


_LONGEST = {
    "separator": 100, "secondary_separator": 100, "keep_tokens_separator": 100, "prefix": 2000,
    "suffix": 2000,
}  # fmt: skip
"""Characters that a text may have; each may come many times in a caption, or with every one."""


@dataclass(frozen=True)
class CaptionConfig(Config):
    """kohya's caption options of a subset, by kohya's names where they are words.

    The rules: docs/kohya.md, "Captions".
    """

    title = "Caption settings"

    shuffle: bool = False
    """The tags behind the kept ones come in a new random order each time (kohya: shuffle_caption)."""
    keep_tokens: int = 0
    """So many tags at the front, 0 or more, stay in place and are never dropped."""
    keep_tokens_separator: str = ""
    """Where a caption holds this mark, the tags before it stay in front and those behind a second one
    at the end, instead of keep_tokens; empty turns it off."""
    tag_dropout: float = 0.0
    """Each tag behind the kept ones is left out with this probability, 0 to 1."""
    dropout: float = 0.0
    """The whole caption is empty with this probability, 0 to 1."""
    dropout_every_n_epochs: int = 0
    """Every caption is empty in each epoch whose number is a multiple of this; 0 turns it off."""
    prefix: str = ""
    """This text is put before every caption, with a space; empty adds nothing."""
    suffix: str = ""
    """This text is put behind every caption, with a space; empty adds nothing."""
    wildcards: bool = False
    """``{a|b}`` takes one of its alternatives, and a caption of several lines takes one line."""
    separator: str = ","
    """The tags of a caption are separated by this text, which must not be empty."""
    secondary_separator: str = ""
    """Tags that are joined by this mark are shuffled and dropped as one; empty turns it off."""
    token_warmup_min: int = 1
    """The warm-up of tags begins with so many behind the kept ones, 0 or more."""
    token_warmup_steps: float = 0.0
    """The warm-up of tags takes so many optimiser steps, or below 1 this fraction of all steps; 0 turns
    it off."""
    joining: Joining = "separator"
    """Tags that were shuffled or dropped are joined by the separator, or by commas as older sd-scripts do."""
    pick_line: bool = False
    """A caption of several lines takes one of them each time, before prefix and suffix; braces are letters."""
    frequent_dropout: float = 0.0
    """Each tag behind the kept ones is left out with this probability, 0 to 1, times the share of the images
    with the trigger that have the tag; the trigger itself stays (after arXiv 2603.27199, without its
    schedule)."""

    def check(self, problems: Problems) -> None:
        for name in ("dropout", "tag_dropout", "frequent_dropout"):
            value = getattr(self, name)
            problems.need(0 <= value <= 1, f"{name} is {value}; it must lie in 0..1")
        for name in (
            "keep_tokens",
            "dropout_every_n_epochs",
            "token_warmup_min",
            "token_warmup_steps",
        ):
            value = getattr(self, name)
            problems.need(value >= 0, f"{name} is {value}; it must be 0 or more")
        problems.need(bool(self.separator), 'separator is empty; a comma "," is usual')
        problems.one_of("joining", self.joining, Joining)
        for name, most in _LONGEST.items():
            length = len(getattr(self, name))
            problems.need(length <= most, f"{name} has {length} characters, allowed: {most}")

    def joined(self, tags: Iterable[str]) -> str:
        """The caption of these tags."""
        return (", " if self.joining == "kohya" else f"{self.separator} ").join(tags)

    def identity(self) -> dict[str, object]:
        """The values that name a run; younger ones only where they make another text than runs had before."""
        values = self.to_dict()
        if self.separator == "," or self.joining == "kohya":
            del values["joining"]
        for name in ("pick_line", "frequent_dropout"):
            if not values[name]:
                del values[name]
        return values

    @property
    def is_plain(self) -> bool:
        """Whether a caption, or each of its lines, has the same text at every step."""
        return not (
            self.shuffle
            or self.tag_dropout
            or self.frequent_dropout
            or self.dropout
            or self.dropout_every_n_epochs
            or self.wildcards
            or self.token_warmup_steps
        )

    @property
    def needs_horizon(self) -> bool:
        """Whether the text of a step depends on the number of steps."""
        return 0 < self.token_warmup_steps < 1
