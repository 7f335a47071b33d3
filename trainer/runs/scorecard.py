"""The scores of a run's previews, kept in its folder: what they come to by step and strength, which is best."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ..files.atomic import write_atomically
from ..files.record import Part, read_record

NAME = "scores.json"

SCORES: tuple[str, ...] = ("obedience", "recall", "leakage", "drift")
Criterion = Literal["all", "obedience", "recall", "leakage", "drift"]
"""What makes a step the best: one score, or the mean of all that every step has."""

_LESS_IS_BETTER = ("leakage", "drift")
_MOST_TAGS = 12


class ScoredPreview(NamedTuple):
    """A row: which preview (``prompt``: its number, from 0), its scores in 0..1, None for an absent one.

    ``is_base``: it was made without the LoRA. ``tags``: those behind the scores, by what is with them.
    """

    step: int
    prompt: int
    strength: float
    scores: dict[str, float | None]
    is_base: bool = False
    tags: dict[str, list[str]] = {}


class Mean(NamedTuple):
    """The mean of so many previews, and its standard error; None for a single one: its spread is unknown."""

    value: float
    error: float | None
    previews: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        count = len(values)
        error = statistics.stdev(values) / math.sqrt(count) if count > 1 else None
        return cls(statistics.fmean(values), error, count)

    def __str__(self) -> str:
        if self.error is None:
            return f"{self.value:.2f} (1 preview: spread unknown)"
        return f"{self.value:.2f} ± {self.error:.2f}"


class Group(NamedTuple):
    """The previews of one step at one strength: the mean of each score that any of them has."""

    step: int
    strength: float
    means: dict[str, Mean]

    def total(self, scores: Sequence[str]) -> Mean:
        """The mean of these scores, each so that 1 is best; their errors count as independent."""
        means = [self.means[name] for name in scores]
        values = [
            1 - mean.value if name in _LESS_IS_BETTER else mean.value
            for name, mean in zip(scores, means, strict=True)
        ]
        errors = [mean.error for mean in means if mean.error is not None]
        known = len(errors) == len(means)
        error = math.hypot(*errors) / len(means) if known else None
        return Mean(statistics.fmean(values), error, min(mean.previews for mean in means))


class Best(NamedTuple):
    """The best group; by the mean of which scores; which others are no worse within their spread."""

    group: Group
    scores: tuple[str, ...]
    total: Mean
    alike: tuple[Group, ...]


@dataclass(frozen=True)
class Scorecard:
    """The scores of a run's previews. tagger: its name; threshold: from which probability a tag is shown."""

    rows: tuple[ScoredPreview, ...]
    tagger: str
    threshold: float
    criterion: Criterion = "all"

    def groups(self) -> list[Group]:
        """By step, then strength; those without the LoRA left out."""
        found: dict[tuple[int, float], list[ScoredPreview]] = {}
        for row in self.rows:
            if not row.is_base:
                found.setdefault((row.step, row.strength), []).append(row)
        return [
            Group(*key, means(row.scores for row in rows)) for key, rows in sorted(found.items())
        ]

    def best(self, step: int | None = None) -> Best | None:
        """The best of all groups, or of those of one step; None where no score can be compared.

        Of equals the earlier step, then the strength nearest to 1. Compared are the scores that all
        groups have.
        """
        groups = [group for group in self.groups() if step is None or group.step == step]
        asked = SCORES if self.criterion == "all" else (self.criterion,)
        scores = tuple(name for name in asked if all(name in group.means for group in groups))
        if not groups or not scores:
            return None

        def place(group: Group) -> tuple[float, int, float]:
            return -round(group.total(scores).value, 9), group.step, abs(group.strength - 1)

        first, *others = sorted(groups, key=place)
        total = first.total(scores)
        alike = [group for group in others if _is_alike(total, group.total(scores))]
        return Best(first, scores, total, tuple(alike))

    def strength(self, step: int) -> float | None:
        """The strength at which the previews of a step score best; None unless there are several."""
        groups = [group for group in self.groups() if group.step == step]
        best = self.best(step) if len(groups) > 1 else None
        return None if best is None else best.group.strength

    def picture(self, step: int, prompts: Collection[int]) -> tuple[int, float] | None:
        """(prompt, strength) of the preview of a step that shows its LoRA best; None where none is scored.

        ``prompts``: those that may be shown. At the strength that scores best; one with recall, that is with the trigger, if there is any; of
        those the best by the mean of its scores.
        """
        best = self.best(step)
        rows = [] if best is None else [row for row in self.rows if row.step == step]
        found = [
            (
                row.scores.get("recall") is None,
                -Group(step, row.strength, own).total(tuple(own)).value,
                row.prompt,
            )
            for row in rows
            if best is not None and row.strength == best.group.strength and not row.is_base
            if row.prompt in prompts
            if (own := means([row.scores]))
        ]
        return (min(found)[2], best.group.strength) if best is not None and found else None

    def leakage(self) -> dict[int, dict[int, float]]:
        """Leakage by step and prompt, at the strength nearest to 1 that every step was shown at."""
        rows = [
            row for row in self.rows if not row.is_base and row.scores.get("leakage") is not None
        ]
        steps = {row.step for row in rows}
        shared = [
            strength
            for strength in {row.strength for row in rows}
            if {row.step for row in rows if row.strength == strength} == steps
        ]
        if not shared:
            return {}
        at = min(shared, key=lambda strength: (abs(strength - 1), strength))
        found: dict[int, dict[int, float]] = {}
        for row in rows:
            value = row.scores["leakage"]
            if row.strength == at and value is not None:
                found.setdefault(row.step, {})[row.prompt] = value
        return dict(sorted(found.items()))


def write_scorecard(folder: Path, card: Scorecard, root: Path) -> None:
    """Keep the scores in a run's folder, below ``root``. Raises CannotWrite."""
    content = {
        "tagger": card.tagger,
        "threshold": card.threshold,
        "criterion": card.criterion,
        "rows": [row._asdict() for row in card.rows],
    }
    write_atomically(folder / NAME, json.dumps(content, indent=1).encode(), root=root)


def read_scorecard(folder: Path) -> Scorecard | None:
    """What `write_scorecard` wrote; None where there is none, and with a warning where it is damaged."""
    return read_record(folder / NAME, _parsed)


def means(scores: Iterable[Mapping[str, float | None]]) -> dict[str, Mean]:
    """The mean of each score that any of these previews has."""
    rows = list(scores)
    found = {name: [v for row in rows if (v := row.get(name)) is not None] for name in SCORES}
    return {name: Mean.of(values) for name, values in found.items() if values}


def _is_alike(one: Mean, other: Mean) -> bool:
    """Whether a difference is within two standard errors; not said of means whose spread is unknown."""
    if one.error is None or other.error is None:
        return one.value == other.value
    return abs(one.value - other.value) <= 2 * math.hypot(one.error, other.error)


def _parsed(part: Part) -> Scorecard:
    criterion = part["criterion"].text()
    if criterion not in get_args(Criterion):
        raise ValueError(f"{criterion[:20]!r} is no score")
    rows = tuple(_row(row) for row in part["rows"])
    return Scorecard(rows, part["tagger"].text(), _share(part["threshold"]), criterion)  # type: ignore[arg-type]


def _row(part: Part) -> ScoredPreview:
    scores, tags = {name: part["scores"][name] for name in SCORES}, part["tags"].fields()
    strength = part["strength"].number()
    if not math.isfinite(strength):
        raise ValueError("a strength is no number")
    return ScoredPreview(
        part["step"].whole(),
        part["prompt"].whole(),
        strength,
        {name: None if one.value is None else _share(one) for name, one in scores.items()},
        part["is_base"].flag(),
        {name[:20]: [tag.text() for tag in found][:_MOST_TAGS] for name, found in tags.items()},
    )


def _share(part: Part) -> float:
    value = part.number()
    if not 0 <= value <= 1:
        raise ValueError(f"{part.place} is {value}, allowed: 0 to 1")
    return value
