"""The first run on a card: check after check within its time, results written as they come."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO

from ..process import rows_of
from .plan import Check
from .report import markdown
from .verdicts import verdict


class FirstRun:
    """The checks of one command, what they said, what was left out; ``end``: of `time.monotonic`."""

    def __init__(self, options: argparse.Namespace, log: TextIO, end: float) -> None:
        self._options, self._log, self._end = options, log, end
        self._found: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "command": " ".join(["python", *sys.argv]),
            "checks": [],
            "left_out": [],
        }

    def run(self, checks: Iterable[Check]) -> None:
        """One after the other, each with its own time; what goes wrong in one does not stop the next."""
        for check in checks:
            if self._options.small and not check.in_small:
                self._found["left_out"].append(f"{check.name}: the same code as another, in small")
                continue
            if check.seconds > self._left():
                self._found["left_out"].append(f"{check.name}: no time was left")
                self._write()
                continue
            self._check(check)
        self._write()

    def _check(self, check: Check) -> None:
        begin, said = time.monotonic(), {"name": check.name, "rows": []}
        self._found["checks"].append(said)
        limit = min(check.most, self._left())
        if self._options.device == "cpu":
            limit = self._left()
        task = {"peer": "check", "name": check.name} | dataclasses.asdict(check)
        if self._options.device == "cpu":
            task |= {"dynamic_vram": False}
        ended = False
        for row in rows_of(task, self._options, self._log, limit):
            ended = ended or row.get("ended", False)
            if "verdict" in row:
                said["rows"].append(row)
                self._say(check, row)
                self._write()
        if not ended:
            row = verdict(
                False, f"its process ended early, after {limit:.0f} s at most: see log.txt"
            )
            said["rows"].append(row)
            self._say(check, row)
        said["seconds"] = round(time.monotonic() - begin, 1)
        self._write()

    def _left(self) -> float:
        return self._end - time.monotonic()

    def _say(self, check: Check, row: dict[str, Any]) -> None:
        sys.stdout.write(f"{row['verdict']}  {check.name}: {row['text']}\n")
        sys.stdout.flush()

    def _write(self) -> None:
        """After every row, so that nothing is lost if this process is ended."""
        out = self._options.out
        (out / "results.json").write_text(json.dumps(self._found, indent=1), encoding="utf-8")
        (out / "results.md").write_text(markdown(self._found), encoding="utf-8")
