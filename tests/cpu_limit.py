"""A test that takes long and is not marked so fails: measured in CPU time.

By the clock, a busy machine would make tests red that are quick. What a test's processes compute is
the same beside others, within a factor that the distance between usual tests and the bound allows.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LONGEST = 10.0  # seconds of CPU time, of the test itself without its fixtures
MARKS = ("slow", "large")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail an unmarked test that computed for longer than `LONGEST`."""
    before = cpu_seconds(item)
    result = yield
    spent = cpu_seconds(item) - before
    if spent > LONGEST and not any(item.get_closest_marker(mark) for mark in MARKS):
        pytest.fail(f"{spent:.1f} s of CPU time: make it shorter or mark it slow", pytrace=False)
    return result


def cpu_seconds(item) -> float:
    """CPU time so far of this process, of children that have ended, and of the test's servers."""
    times = os.times()
    done = times.user + times.system + times.children_user + times.children_system
    servers = (getattr(value, "process_id", None) for value in item.funcargs.values())
    return done + sum(_of_running(process) for process in servers if process is not None)


def _of_running(process: int) -> float:
    """CPU seconds of a process that runs and of its ended children; 0 where there is no /proc."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return 0.0
    ticks = text.rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
