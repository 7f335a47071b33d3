"""The report of a run of all tiers: counts from pytest's files, the slowest tests, the table."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

LISTED = 20
SHORTEST_LISTED = 3.0  # seconds


class Row(NamedTuple):
    """What became of one tier, or of one part of it; seconds: of all its processes together."""

    tier: str
    host: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    note: str


class Slow(NamedTuple):
    """How long a test took by the clock, set-up included."""

    seconds: float
    name: str


class Counts(NamedTuple):
    """What a JUnit file says: counts, the reasons for skipping, the time of each test."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: tuple[str, ...] = ()
    tests: tuple[Slow, ...] = ()


def read_report(path: Path) -> Counts:
    """The counts of a JUnit file; zeros when pytest did not come as far as writing it."""
    if not path.exists():
        return Counts()
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None and case not in failed]
    reasons = {case.find("skipped").get("message", "") for case in skipped}
    tests = tuple(Slow(float(case.get("time", 0)), _name(case)) for case in cases)
    passed = len(cases) - len(failed) - len(skipped)
    return Counts(passed, len(failed), len(skipped), tuple(sorted(reasons)), tests)


def merge(rows: Iterable[Row]) -> list[Row]:
    """One row per tier and ComfyUI, of the rows of its parts."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row.tier, row.host)
        found[key] = _sum(found[key], row) if key in found else row
    return [row if row.note else row._replace(skipped=1, note="not run: no test was selected")
            for row in found.values()]  # fmt: skip


def slowest(tests: Iterable[Slow]) -> str:
    """The tests that took longest."""
    longest = sorted((test for test in tests if test.seconds >= SHORTEST_LISTED), reverse=True)
    lines = [f"{test.seconds:8.1f} s  {test.name}" for test in longest[:LISTED]]
    return "\n".join(["", "The slowest tests, by the clock and with their set-up:", *lines])


def table(rows: Iterable[Row]) -> str:
    """The rows, aligned."""
    lines = [
        "",
        f"{'tier':14}{'ComfyUI':10}{'passed':>7}{'failed':>7}{'skipped':>8}{'seconds':>9}  note",
    ]
    for row in rows:
        counts = f"{row.passed:7}{row.failed:7}{row.skipped:8}{row.seconds:9.1f}"
        lines.append(f"{row.tier:14}{row.host:10}{counts}  {row.note}")
    return "\n".join(lines)


def version(comfyui: str) -> str:
    """The version a ComfyUI states."""
    file = Path(comfyui) / "comfyui_version.py"
    if not file.exists():
        return "?"
    found = re.search(r'"([^"]+)"', file.read_text("utf-8").split("=")[-1])
    return found[1] if found else "?"


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '')}::{case.get('name', '')}"


def _sum(one: Row, other: Row) -> Row:
    notes = dict.fromkeys(word for row in (one, other) for word in row.note.split("; ") if word)
    return one._replace(
        passed=one.passed + other.passed,
        failed=one.failed + other.failed,
        skipped=one.skipped + other.skipped,
        seconds=one.seconds + other.seconds,
        note="; ".join(notes),
    )
