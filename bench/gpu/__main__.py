"""Training of full-size SDXL on one GPU: a first run's checks, or ways side by side.

`python bench/gpu first|speed|memory --comfyui FOLDER [--kohya FOLDER] [--site FOLDER] [--out FOLDER]`.
Every check and every way has a process of its own.
Random weights are made on the card; nothing is downloaded. It keeps to `--minutes`: what there is no
time for is left out, the least important first, and named. `--device cpu --small` runs the same on
the reduced SDXL anywhere. Writes results.json, results.md and log.txt.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

LATER_BATCHES = (1, 4)
SPARE_S = 10.0
"""Kept free at the end, for writing what was found."""


def main() -> None:
    """Run a plan within its time."""
    options = _parse()
    options.out.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from finding import find_pack

    find_pack()
    from . import plans

    if options.plan == "first":
        _first(options)
        return
    plan = {"speed": plans.SPEED, "memory": plans.MEMORY}[options.plan]
    with (options.out / "log.txt").open("w", encoding="utf-8") as log:
        Session(options, log).run(plan, options.rounds or (3 if options.plan == "speed" else 1))


def _first(options: argparse.Namespace) -> None:
    """The checks, then ways side by side with what is left of the time."""
    from . import plans
    from .first.plan import CHECKS, SPEED
    from .first.session import FirstRun

    end = time.monotonic() + options.minutes * 60 - SPARE_S
    chosen = [check for check in CHECKS if not options.only or check.name in options.only]
    with (options.out / "log.txt").open("w", encoding="utf-8") as log:
        FirstRun(options, log, end).run(chosen)
    if options.only and "speed" not in options.only:
        return
    ways = [run for name in SPEED for run in plans.SPEED if run.name == name]
    ways = [dataclasses.replace(run, batches=LATER_BATCHES) for run in ways]
    minutes = (end - time.monotonic() + SPARE_S) / 60
    own = {"plan": "speed", "out": options.out / "speed", "minutes": minutes, "only": None}
    rest = argparse.Namespace(**vars(options) | own)
    rest.out.mkdir(exist_ok=True)
    with (rest.out / "log.txt").open("w", encoding="utf-8") as log:
        Session(rest, log).run(tuple(ways), 1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", choices=["first", "speed", "memory"])
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument(
        "--kohya", type=Path, help="a clone of sd-scripts, or its library and networks"
    )
    parser.add_argument("--site", type=Path, help="a folder of packages: diffusers, torchsde ...")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    parser.add_argument("--minutes", type=float, default=8.8)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="the reduced SDXL, few steps")
    parser.add_argument(
        "--only",
        nargs="*",
        help="names of checks or runs, speed for what first ends with; all others are left out",
    )
    return parser.parse_args()


class Session:
    """One command: its time, what was found, what was left out."""

    def __init__(self, options: argparse.Namespace, log: TextIO) -> None:
        self._options, self._log = options, log
        self._end = time.monotonic() + options.minutes * 60 - SPARE_S
        self._found: dict[str, Any] = {"plan": options.plan, "small": options.small}
        self._found |= {"facts": {}, "rows": [], "left_out": []}

    def run(self, plan: tuple[Any, ...], rounds: int) -> None:
        """Facts and gradients first; then rounds over the runs, each begun by another of them."""
        for facts in self._worker({"peer": "facts", "name": "facts"}, self._left()):
            self._found["facts"] = facts
        self._write()
        plan = tuple(
            run for run in plan if not self._options.only or run.name in self._options.only
        )
        taken = {run.name: run.seconds for run in plan}
        for number in range(rounds):
            first = number * 2 % len(plan)
            for run in (*plan[first:], *plan[:first]):
                self._measure(run, number, taken)
        self._write()

    def _measure(self, run: Any, number: int, taken: dict[str, float]) -> None:
        batches = [b for b in run.batches if not number or b in LATER_BATCHES]
        if self._options.small:
            batches = batches[:1]
        where = f"{run.name}, round {number + 1}"
        if run.peer == "kohya" and not self._options.kohya:
            self._found["left_out"] += [f"{where}: no --kohya"] if not number else []
            return
        if taken[run.name] > self._left():
            self._found["left_out"].append(f"{where}: no time was left")
            return
        begin, before = time.monotonic(), len(self._found["rows"])
        task = dataclasses.asdict(run) | {"batches": batches}
        for row in self._worker(task, self._left()):
            self._found["rows"].append({"name": run.name, "round": number + 1} | row)
        rows = self._found["rows"][before:]
        if len(rows) < len(batches):
            error = {"error": "its process ended early, see log.txt"}
            for batch in batches[len(rows) :]:
                row = {"name": run.name, "round": number + 1, "batch": batch}
                self._found["rows"].append(row | error)
        taken[run.name] = time.monotonic() - begin
        self._write()

    def _worker(self, task: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
        from .process import rows_of

        return list(rows_of(task, self._options, self._log, seconds))

    def _left(self) -> float:
        return self._end - time.monotonic()

    def _write(self) -> None:
        """After every run, so that nothing is lost if this process is ended."""
        from .report import markdown

        out, text = self._options.out, markdown(self._found)
        (out / "results.json").write_text(json.dumps(self._found, indent=1), encoding="utf-8")
        (out / "results.md").write_text(text, encoding="utf-8")
        sys.stdout.write(f"{len(self._found['rows'])} rows, {self._left():.0f} s left\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
