"""A process that measures one thing: its rows as they come, and its end when its time is up."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any, TextIO

MARK = "ROW "
"""Begins a line of a worker's output that is a row."""


def rows_of(
    task: dict[str, Any], options: argparse.Namespace, log: TextIO, seconds: float
) -> Iterator[dict[str, Any]]:
    """The rows that a worker says before it ends or its time is up; all else goes to the log."""
    paths = {name: getattr(options, name) for name in ("comfyui", "kohya", "site")}
    more = {name: str(path.resolve()) if path else "" for name, path in paths.items()}
    task = {"dynamic_vram": False} | task | more
    task |= {"device": options.device, "small": options.small}
    _note(log, f"\n== {json.dumps(task)}\n")
    worker = [sys.executable, "-B", str(Path(__file__).with_name("worker.py")), json.dumps(task)]
    process = subprocess.Popen(
        worker, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace"
    )
    assert process.stdout is not None

    def late() -> None:
        _note(log, "== its time was up\n")
        process.kill()

    timer = Timer(max(seconds, 1.0), late)
    timer.start()
    try:
        for line in process.stdout:
            if line.startswith(MARK):
                yield json.loads(line.removeprefix(MARK))
            else:
                _note(log, line)
    finally:
        timer.cancel()
        process.kill()
        process.wait()


def _note(log: TextIO, text: str) -> None:
    log.write(text)
    log.flush()
