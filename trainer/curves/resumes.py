"""The steps after which a run was taken up again, for its curve: a small file in the run's folder."""

from __future__ import annotations

from pathlib import Path

from ...base.small_file import read_small
from ..files.atomic import write_atomically

NAME = "resumed.txt"


def add_resume(run: Path, step: int) -> None:
    """Note that the run goes on after ``step``; those of steps that come again are forgotten. Raises OSError."""
    kept = [*(one for one in read_resumes(run) if one < step), *([step] if step else [])]
    if kept != read_resumes(run):
        write_atomically(run / NAME, "".join(f"{one}\n" for one in kept).encode(), root=run)


def read_resumes(run: Path) -> list[int]:
    """The steps, in order; none where the file is missing or no such file."""
    try:
        words = read_small(run / NAME).decode("ascii").split()
    except (OSError, ValueError):
        return []
    return [int(word) for word in words if word.isdecimal() and len(word) < 10]
