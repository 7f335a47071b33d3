"""What was done to the captions of a dataset, as numbers and as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...base.caption_reader import caption_tags
from ...base.shortened import in_lines
from .tag_text import SEPARATOR

TOTALS_SHOWN = 20


@dataclass(frozen=True)
class Change:
    """One caption that is not what it was."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Report:
    """The changed captions of `images`, how often all of them had each tag before, and have it now.

    `prose` counts captions that are written in sentences and were therefore left in peace.
    """

    images: int
    changes: tuple[Change, ...]
    before: Counter[str]
    after: Counter[str]
    prose: int = 0

    @property
    def removed(self) -> Counter[str]:
        """How often each tag was taken away."""
        return self.before - self.after

    @property
    def added(self) -> Counter[str]:
        """How often each tag was put in."""
        return self.after - self.before

    def text(self, limit: int | None = None) -> str:
        """Totals, then `before -> after` of each changed caption, at most `limit` of them."""
        lines = [
            f"{len(self.changes)} of {self.images} captions changed",
            f"tags: {self.before.total()} -> {self.after.total()}, "
            f"different ones: {len(self.before)} -> {len(self.after)}",
        ]
        for word, counts in (("removed", self.removed), ("added", self.added)):
            if counts:
                lines.append(f"{word}: {_totals(counts)}")
        if self.prose:
            lines.append(
                f"written in sentences, so left as they are except for the trigger: {self.prose}"
            )
        most = len(self.changes) if limit is None else limit
        changes = [f"{c.name}\n  {c.before}\n  -> {c.after}" for c in self.changes]
        return "\n\n".join(["\n".join(lines), *in_lines(changes, most)])


def compare(
    names: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
    separator: str = SEPARATOR,
    prose: int = 0,
    counted: Counter[str] | None = None,
) -> Report:
    """The report on captions before and after, in the same order.

    counted: the tags of those before, where they are read already.
    """
    triples = list(zip(names, before, after, strict=True))
    changes = tuple(Change(*triple) for triple in triples if triple[1] != triple[2])
    counted = _count(before, separator) if counted is None else counted
    return Report(len(triples), changes, counted, _count(after, separator), prose)


def _count(captions: Sequence[str], separator: str) -> Counter[str]:
    return Counter(tag for caption in captions for tag in caption_tags(caption, separator))


def _totals(counts: Counter[str]) -> str:
    listed = ", ".join(f"{tag} ({count})" for tag, count in counts.most_common(TOTALS_SHOWN))
    more = len(counts) - TOTALS_SHOWN
    return f"{counts.total()} tags: {listed}" + (f" and {more} others" if more > 0 else "")
