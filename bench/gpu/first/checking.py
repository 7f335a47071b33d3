"""Runs one check in the process of a worker."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .verdicts import Check, Place, first_line, verdict


def run_check(task: dict[str, Any], folder: Path, say: Callable[[dict[str, Any]], None]) -> None:
    """Say its rows and that it came to its end, which an error of any kind is too."""
    device = torch.device("cuda", 0) if task["device"] == "cuda" else torch.device("cpu")
    place = Place(task["small"], device, folder, task["cap"], task["settings"])
    check: Check = importlib.import_module(f".{task['module']}", __package__).check
    try:
        for row in check(place):
            say(row)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is what the check has found)
        traceback.print_exc()
        say(verdict(False, first_line(error)))
    say({"ended": True})
