"""What a script found, for machines: the last lines of its output are `RATIO name value`."""

from __future__ import annotations

import sys


def say(**ratios: float) -> None:
    """A line for each."""
    for name, value in ratios.items():
        sys.stdout.write(f"RATIO {name} {value:.3f}\n")
