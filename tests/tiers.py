"""Runs the checks tier by tier, each in its own process, and says what ran and what did not.

`quickstart.py test` starts this in the environment, with COMFYUI_PATH and COMFYUI_OLD_PATH set.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
WITH_HOST = ("host", "server", "gpu")
NOTHING_COLLECTED = 5  # pytest's exit code


class Row(NamedTuple):
    """What became of one tier."""

    tier: str
    host: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    note: str


def main(arguments: list[str]) -> int:
    """Run every tier; 0 when nothing failed."""
    hosts = {"main": os.environ["COMFYUI_PATH"], "old": os.environ["COMFYUI_OLD_PATH"]}
    rows = [
        run_tool("ruff check", "ruff", "check", "."),
        run_tool("ruff format", "ruff", "format", "--check", "."),
        run_tool("pyright", "pyright"),
        *run_together(
            [
                ("core", None, [*core_paths(), "-m", "not slow"]),
                ("host", hosts["main"], ["tests/host"]),
                ("server", hosts["main"], ["tests/server"]),
                ("host", hosts["old"], ["tests/host", "-m", "not slow"]),
                ("core, slow", None, [*core_paths(), "-m", "slow"]),
                ("server smoke", hosts["old"], ["tests/server", "-m", "old_host"]),
            ],
            arguments,
        ),
        run_gpu(hosts["main"], arguments),
    ]
    say(table(rows))
    totals = [sum(row[column] for row in rows) for column in (2, 3, 4)]
    say("{} passed, {} failed, {} skipped".format(*totals))
    return 1 if totals[1] else 0


def run_together(
    tiers: list[tuple[str, str | None, list[str]]], arguments: list[str]
) -> Iterator[Row]:
    """The tiers, two at a time where there are two processors: each computes in one thread."""
    say("\nThe tests run two tiers at a time; what each has to say comes when it is done.")
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        running = [pool.submit(run_pytest, *tier, arguments) for tier in tiers]
        for future in as_completed(running):
            yield future.result()


def core_paths() -> list[str]:
    """All tests that need no ComfyUI."""
    return ["tests", *(f"--ignore=tests/{name}" for name in WITH_HOST)]


def run_tool(tier: str, module: str, *arguments: str) -> Row:
    """A checker that is no test: one passed or one failed."""
    say(f"\n== {tier}")
    start = time.monotonic()
    code = subprocess.call([sys.executable, "-m", module, *arguments], cwd=ROOT)
    return Row(tier, "", int(code == 0), int(code != 0), 0, time.monotonic() - start, "ran")


def run_gpu(comfyui: str, arguments: list[str]) -> Row:
    """The tests that need CUDA, where there is CUDA."""
    script = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    if subprocess.call([sys.executable, "-c", script]):
        return Row("gpu", version(comfyui), 0, 0, 1, 0.0, "not run: no CUDA device here")
    return run_pytest("gpu", comfyui, ["tests/gpu"], arguments)


def run_pytest(tier: str, comfyui: str | None, paths: list[str], arguments: list[str]) -> Row:
    """One pytest process; its counts come from the report it writes."""
    host = version(comfyui) if comfyui else ""
    if not (ROOT / paths[0]).is_dir():
        return Row(tier, host, 0, 0, 1, 0.0, f"not run: there is no {paths[0]}")
    environment = {key: value for key, value in os.environ.items() if key != "COMFYUI_PATH"}
    environment["OMP_NUM_THREADS"] = environment.get("OMP_NUM_THREADS", "1")
    if comfyui:
        environment["COMFYUI_PATH"] = comfyui
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *paths, f"--junitxml={report}", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        code, counts = done.returncode, read_report(report)
    say(f"\n== {tier} {host}\n{done.stdout.decode(errors='replace')}".rstrip())
    seconds = time.monotonic() - start
    if code == NOTHING_COLLECTED:
        return Row(tier, host, 0, 0, 1, seconds, "not run: no test was selected")
    passed, failed, skipped, reasons = counts
    if code and not failed:
        failed, reasons = 1, f"pytest ended with exit code {code}"
    return Row(
        tier, host, passed, failed, skipped, seconds, f"ran; {reasons}" if reasons else "ran"
    )


def read_report(path: Path) -> tuple[int, int, int, str]:
    """Passed, failed, skipped and the reasons for skipping, from a JUnit file."""
    if not path.exists():
        return 0, 0, 0, ""
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None and case not in failed]
    reasons = {case.find("skipped").get("message", "") for case in skipped}
    passed = len(cases) - len(failed) - len(skipped)
    return passed, len(failed), len(skipped), "; ".join(sorted(reasons))


def version(comfyui: str) -> str:
    """The version a ComfyUI states."""
    file = Path(comfyui) / "comfyui_version.py"
    found = (
        re.search(r'"([^"]+)"', file.read_text("utf-8").split("=")[-1]) if file.exists() else None
    )
    return found[1] if found else "?"


def table(rows: list[Row]) -> str:
    """The rows, aligned."""
    lines = [
        "",
        f"{'tier':14}{'ComfyUI':10}{'passed':>7}{'failed':>7}{'skipped':>8}{'seconds':>9}  note",
    ]
    for row in rows:
        counts = f"{row.passed:7}{row.failed:7}{row.skipped:8}{row.seconds:9.1f}"
        lines.append(f"{row.tier:14}{row.host:10}{counts}  {row.note}")
    return "\n".join(lines)


def say(text: str) -> None:
    """Print at once, so that the order with the tools' own output is right."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
