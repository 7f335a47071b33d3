"""Runs the checks in parts, as many at a time as there are processors, and says what ran and what did not.

`quickstart.py test` starts this in the environment, with COMFYUI_PATH and COMFYUI_OLD_PATH set.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from tier_report import Row, Slow, merge, read_report, slowest, table, version

ROOT = Path(__file__).resolve().parents[1]
MOST_WORKERS = 4  # a part of the host tier takes up to 3 GB
NOTHING_COLLECTED = 5  # pytest's exit code
CHECKS = (
    ("pyright", ("pyright",)),
    ("ruff check", ("ruff", "check", ".")),
    ("ruff format", ("ruff", "format", "--check", ".")),
)
# Folders that are a part of their own; what no line names runs with the last part of its tier, so
# that a new folder of tests is never forgotten. A part takes one to five minutes of one processor.
CORE = (
    ("tests/trainer/training", "tests/trainer/validation"),
    ("tests/trainer/runs", "tests/trainer/layers", "tests/trainer/optim"),
)
HOST = (("tests/host/training",), ("tests/host/dataset", "tests/host/model", "tests/host/previews"))
WITH_HOST = ("tests/host", "tests/server", "tests/gpu")


class Part(NamedTuple):
    """What one pytest process runs: arguments that select tests, and the ComfyUI it runs them in."""

    tier: str
    comfyui: str | None
    selection: tuple[str, ...]


class Outcome(NamedTuple):
    """What became of a part, and how long its tests took."""

    row: Row
    tests: tuple[Slow, ...] = ()


def main(arguments: list[str]) -> int:
    """Run every tier; 0 when nothing failed."""
    start = time.monotonic()
    large = "--large" in arguments
    arguments = [argument for argument in arguments if argument != "--large"]
    main_host, old_host = os.environ["COMFYUI_PATH"], os.environ["COMFYUI_OLD_PATH"]
    outcomes = list(run_together(parts(main_host, old_host), arguments))
    outcomes += run_large(main_host, arguments, large)
    outcomes.append(run_gpu(main_host, arguments))
    rows = merge([outcome.row for outcome in outcomes])
    say(slowest([test for outcome in outcomes for test in outcome.tests]))
    say(table(rows))
    totals = [sum(row[column] for row in rows) for column in (2, 3, 4)]
    say("{} passed, {} failed, {} skipped".format(*totals))
    say(f"{(time.monotonic() - start) / 60:.1f} minutes, {workers()} parts at a time")
    return 1 if totals[1] else 0


def parts(main_host: str, old_host: str) -> list[Part]:
    """The parts, the longest first, so that no worker is left with a long one at the end."""
    new = [Part("host", main_host, s) for s in split(HOST, ("tests/host",), "not large")]
    old_marks = "not large and not main_host"
    old = [Part("host", old_host, s) for s in split(HOST, ("tests/host",), old_marks)]
    core = [Part("core", None, s) for s in split(CORE, ("tests",), "not large", WITH_HOST)]
    server = Part("server", main_host, ("tests/server", "-m", "not large"))
    smoke = Part("server smoke", old_host, ("tests/server", "-m", "old_host and not large"))
    return [new[0], server, *new[1:], *core, *old, smoke]


def split(
    groups: tuple[tuple[str, ...], ...],
    all_of: tuple[str, ...],
    marks: str,
    without: tuple[str, ...] = (),
) -> Iterator[tuple[str, ...]]:
    """A selection per group, and one for what lies in `all_of` but in no group."""
    for group in groups:
        yield (*group, "-m", marks)
    elsewhere = (*without, *(path for group in groups for path in group))
    yield (*all_of, *(f"--ignore={path}" for path in elsewhere), "-m", marks)


def workers() -> int:
    """How many parts run at a time: each computes in one thread."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MOST_WORKERS, here or 1))


def run_together(todo: list[Part], arguments: list[str]) -> Iterator[Outcome]:
    """All parts and checks; a worker that is free takes the next one."""
    say(f"\n{workers()} parts run at a time; what each has to say comes when it is done.")
    with ThreadPoolExecutor(workers()) as pool:
        running = [pool.submit(run_pytest, part, arguments) for part in todo]
        running += [pool.submit(run_check, *check) for check in CHECKS]
        for future in as_completed(running):
            yield future.result()


def run_check(tier: str, command: tuple[str, ...]) -> Outcome:
    """A checker that is no test: one passed or one failed."""
    start = time.monotonic()
    code, text = call([sys.executable, "-m", *command], dict(os.environ))
    say(f"\n== {tier}\n{text}".rstrip())
    seconds = time.monotonic() - start
    return Outcome(Row(tier, "", int(code == 0), int(code != 0), 0, seconds, "ran"))


def run_large(comfyui: str, arguments: list[str], wanted: bool) -> list[Outcome]:
    """Weights and workflows of full size, one after the other: weights need 6 GB of memory."""
    if not wanted:
        note = "not run: python quickstart.py test --large"
        return [Outcome(Row("large", version(comfyui), 0, 0, 1, 0.0, note))]
    folders = ("tests/host", "tests/server")
    parts = [Part("large", comfyui, (folder, "-m", "large")) for folder in folders]
    return [run_pytest(part, arguments) for part in parts]


def run_gpu(comfyui: str, arguments: list[str]) -> Outcome:
    """The tests that need CUDA, where there is CUDA."""
    script = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    if subprocess.call([sys.executable, "-c", script]):
        return Outcome(Row("gpu", version(comfyui), 0, 0, 1, 0.0, "not run: no CUDA device here"))
    return run_pytest(Part("gpu", comfyui, ("tests/gpu",)), arguments)


def run_pytest(part: Part, arguments: list[str]) -> Outcome:
    """One pytest process; its counts come from the report it writes."""
    host = version(part.comfyui) if part.comfyui else ""
    environment = {key: value for key, value in os.environ.items() if key != "COMFYUI_PATH"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    if part.comfyui:
        environment["COMFYUI_PATH"] = part.comfyui
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        selected = [*part.selection, f"--junitxml={report}", *arguments]
        code, text = call([sys.executable, "-m", "pytest", "-q", *selected], environment)
        passed, failed, skipped, reasons, tests = read_report(report)
    say(f"\n== {part.tier} {host} {' '.join(part.selection)}\n{text}".rstrip())
    seconds = time.monotonic() - start
    if code == NOTHING_COLLECTED:
        return Outcome(Row(part.tier, host, 0, 0, 0, seconds, ""))
    if code and not failed:
        failed, reasons = 1, (f"pytest ended with exit code {code}",)
    note = "; ".join(("ran", *reasons))
    return Outcome(Row(part.tier, host, passed, failed, skipped, seconds, note), tuple(tests))


def call(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run in the repository; the exit code and what it wrote."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout.decode(errors="replace")


def say(text: str) -> None:
    """Print at once, so that nothing is lost when the run is cut off."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
