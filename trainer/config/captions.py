"""How captions are read at each step: shuffling, dropout, wildcards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CaptionConfig:
    """kohya's caption options of a subset, by kohya's names where they are words.

    The rules: docs/kohya.md, "Captions".
    ``token_warmup_steps`` below 1 is a fraction of all training steps. ValueError at construction
    lists everything wrong at once.
    """

    shuffle: bool = False
    keep_tokens: int = 0
    keep_tokens_separator: str = ""
    tag_dropout: float = 0.0
    """The chance of each tag behind the kept ones to be left out."""
    dropout: float = 0.0
    """The chance of the whole caption to be empty."""
    dropout_every_n_epochs: int = 0
    prefix: str = ""
    suffix: str = ""
    wildcards: bool = False
    """``{a|b}`` takes one of its alternatives; a caption of several lines takes one line."""
    separator: str = ","
    secondary_separator: str = ""
    token_warmup_min: int = 1
    token_warmup_steps: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; it must lie in 0..1"
            for name, value in (("dropout", self.dropout), ("tag_dropout", self.tag_dropout))
            if not 0.0 <= value <= 1.0
        ]
        for name in (
            "keep_tokens",
            "dropout_every_n_epochs",
            "token_warmup_min",
            "token_warmup_steps",
        ):
            if getattr(self, name) < 0:
                problems.append(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if not self.separator:
            problems.append('separator is empty; a comma "," is usual')
        if problems:
            raise ValueError("Caption settings: " + "; ".join(problems) + ".")

    @property
    def is_plain(self) -> bool:
        """Whether every showing has the same text."""
        return not (
            self.shuffle
            or self.tag_dropout
            or self.dropout
            or self.dropout_every_n_epochs
            or self.wildcards
            or self.token_warmup_steps
        )

    @property
    def needs_horizon(self) -> bool:
        """Whether the text of a step depends on the number of steps."""
        return 0 < self.token_warmup_steps < 1
