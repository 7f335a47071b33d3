"""Long lists said shortly: the first few, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence


def remainder(count: int, shown: int, what: str = "more") -> str:
    """``and 3 more``; "" where all are shown."""
    return f"and {count - shown} {what}" if count > shown else ""


def in_sentence(items: Sequence[str], most: int = 5) -> str:
    """``a; b; c (and 3 more)``."""
    rest = remainder(len(items), most)
    return "; ".join(items[:most]) + (f" ({rest})" if rest else "")


def in_lines(items: Sequence[str], most: int, what: str = "more") -> list[str]:
    """A line for each of the first, and one that says how many ``what`` there are."""
    rest = remainder(len(items), most, what)
    return [*items[:most], *([rest] if rest else [])]
