"""What filtering did to the captions, as numbers and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TOTALS_SHOWN = 20


@dataclass(frozen=True)
class Change:
    """One caption that is not what it was."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Report:
    """The changed captions of `images`, and how often each tag was taken away or added."""

    images: int
    changes: tuple[Change, ...]
    removed: Mapping[str, int]
    added: Mapping[str, int]

    def text(self, limit: int | None = None) -> str:
        """Totals, then `before -> after` of each changed caption, at most `limit` of them."""
        lines = [f"{len(self.changes)} of {self.images} captions changed"]
        for word, counts in (("removed", self.removed), ("added", self.added)):
            if counts:
                lines.append(f"{word}: {_totals(counts)}")
        shown = self.changes[:limit]
        for change in shown:
            lines += ["", change.name, f"  {change.before}", f"  -> {change.after}"]
        if len(shown) < len(self.changes):
            lines += ["", f"and {len(self.changes) - len(shown)} more"]
        return "\n".join(lines)


def _totals(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{tag} ({count})" for tag, count in ordered[:TOTALS_SHOWN])
    more = len(ordered) - TOTALS_SHOWN
    return f"{sum(counts.values())} tags: {listed}" + (f" and {more} others" if more > 0 else "")
