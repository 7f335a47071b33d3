"""The tests in tests/gpu, in this process: a row for each failure, and the counts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ...finding import ROOT
from .verdicts import Place, Row, measured, verdict, waiting

SMALL = ("test_graphs.py", "test_kernels.py", "test_step.py", "test_training.py")
"""What is gone through without a card: the others compute for a minute."""
NO_PLUGINS = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"


class _Reports:
    """A plugin of pytest that keeps what was said of each test."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failed: list[tuple[str, str]] = []
        self.skipped: set[str] = set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest for set-up, call and tear-down of a test."""
        if report.outcome == "skipped":
            self.skipped.add(str(report.longrepr[-1]))
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
        if report.outcome == "failed":
            self._keep(report)

    def pytest_collectreport(self, report: Any) -> None:
        """Called by pytest for each file: one that cannot be imported has no tests."""
        if report.outcome == "failed":
            self.counts["failed"] += 1
            self._keep(report)

    def _keep(self, report: Any) -> None:
        lines = str(report.longrepr).strip().splitlines()
        said = [line for line in lines if line.startswith("E ")] or lines[-1:]
        self.failed.append((report.nodeid, said[0].removeprefix("E").strip()[:200]))


def check(place: Place) -> Iterator[Row]:
    """settings: dynamic_vram, whether ComfyUI pages weights by itself."""
    try:
        import pytest
    except ImportError:
        yield measured("pytest is not installed here: the gpu tier did not run")
        return
    os.environ[NO_PLUGINS] = "1"
    os.environ["LORA_LOOP_GPU_DEVICE"] = place.device.type
    if place.settings.get("dynamic_vram"):
        os.environ["DYNAMIC_VRAM"] = "1"
    reports, folder = _Reports(), ROOT / "tests" / "gpu"
    files = SMALL if place.small else ("",)
    options = ["-q", "-p", "no:cacheprovider", "--tb=short", f"--basetemp={place.folder / 'tests'}"]
    code = pytest.main([*(str(folder / name) for name in files), *options], plugins=[reports])
    for name, said in reports.failed:
        yield verdict(False, f"{name.removeprefix('tests/gpu/')}: {said}")
    counts = reports.counts
    text = f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"
    if reports.skipped:
        text += f" ({'; '.join(sorted(reports.skipped))})"
    yield verdict(code == 0 and counts["passed"] > 0, text, **counts)
    if not place.is_card:
        yield waiting("the tests that were skipped or left out")
