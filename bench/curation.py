"""Precision and recall of Curate Dataset's checks on labelled images, as tables.

`python bench/curation.py [--half "held out"]`. The default thresholds were chosen on the half "tuning".
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """One labelled item, and whether the check found it."""

    kind: str
    flawed: bool
    found: bool


class Score(NamedTuple):
    """How the verdicts of a check count."""

    hits: int
    misses: int
    false_alarms: int
    fine: int

    @property
    def precision(self) -> float:
        """The share of the found ones that are flawed."""
        return self.hits / (self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """The share of the flawed ones that are found."""
        return self.hits / (self.hits + self.misses)


def main() -> None:
    """Print a table of all checks, and one of each check's kinds of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=("tuning", "held out"), default="held out")
    half = parser.parse_args().half
    from finding import find_pack

    find_pack()
    checks = verdicts(half)
    lines = ["| check | flawed | found | fine | wrongly found | precision | recall |"]
    lines.append("|---|---|---|---|---|---|---|")
    for check, given in checks.items():
        count = score(given)
        lines.append(
            f"| {check} | {count.hits + count.misses} | {count.hits} "
            f"| {count.fine + count.false_alarms} | {count.false_alarms} "
            f"| {count.precision:.3f} | {count.recall:.3f} |"
        )
    lines += ["", "| check | kind | flawed, found | fine, wrongly found |", "|---|---|---|---|"]
    lines += [
        f"| {check} | {kind} | {_of(given, kind, True)} | {_of(given, kind, False)} |"
        for check, given in checks.items()
        for kind in dict.fromkeys(verdict.kind for verdict in given)
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def verdicts(half: Any) -> dict[str, list[Verdict]]:
    """What each check says of its labelled set, with the default thresholds."""
    from ..demo import curation
    from ..tagger import CurateConfig, assess
    from ..trainer.sdxl.buckets import BucketConfig, assign

    options, buckets = CurateConfig(), BucketConfig()

    def bars(picture: Any) -> float:
        return assess(picture).bars.share(picture.shape[1], picture.shape[0])

    return {
        "near duplicates": list(_near_duplicates(half, options.agreement_threshold)),
        "blurred": [
            Verdict(item.kind, item.flawed, assess(item.picture).blur > options.blur_threshold)
            for item in curation.blurred(half)
        ],
        "too small": [
            Verdict(
                "sizes", s.flawed,
                assign(s.size, buckets).enlargement(s.size) > options.upscale_threshold,
            )
            for s in curation.small(half)
        ],
        "extreme aspect": [
            Verdict(
                "sizes", s.flawed, assign(s.size, buckets).cropped_share() > options.crop_threshold
            )
            for s in curation.extreme(half)
        ],
        "borders": [
            Verdict(item.kind, item.flawed, bars(item.picture) > options.border_threshold)
            for item in curation.bordered(half)
        ],
    }  # fmt: skip


def score(given: list[Verdict]) -> Score:
    """The counts of a check."""
    counts = Counter((verdict.flawed, verdict.found) for verdict in given)
    return Score(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


def _near_duplicates(half: Any, least: float) -> Iterator[Verdict]:
    """Flawed: every image of a group but one. A copy of another group's image is a false alarm."""
    import numpy as np

    from ..demo import curation
    from ..tagger import assess, find_copies

    copies = sorted(curation.copies(half), key=lambda copy: -copy.picture.size)
    qualities = [assess(copy.picture) for copy in copies]
    matches, _ = find_copies(
        np.array([quality.hash for quality in qualities]),
        np.array([quality.thumbnail for quality in qualities]),
        least,
    )
    found = {match.copy: match.kept for match in matches}
    kept: set[str] = set()
    for place, copy in enumerate(copies):
        if place in found:
            yield Verdict(copy.kind, copies[found[place]].group == copy.group, True)
        else:
            yield Verdict(copy.kind, copy.group in kept, False)
            kept.add(copy.group)


def _of(given: list[Verdict], kind: str, flawed: bool) -> str:
    found = [v.found for v in given if v.kind == kind and v.flawed == flawed]
    return f"{sum(found)} of {len(found)}" if found else ""


if __name__ == "__main__":
    main()
