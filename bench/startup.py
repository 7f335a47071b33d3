"""From "queue" to the first forward: full-size SDXL in RAM on the CPU, cache warm, stage by stage.

`COMFYUI_PATH=... python bench/startup.py [--small] [--before CHECKOUT]`. Takes 6 GB of memory and a minute
to make the model. With --before this checkout and another one take turns, a process each, and the last
line is the ratio of CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest import mock

RANK = 32


class Reached(BaseException):
    """The first forward begins: there is nothing more to measure."""


def main() -> None:
    """Print the seconds of every stage, and of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the reduced SDXL instead")
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison")
    options = parser.parse_args()
    if options.before:
        _compare(options.before.resolve(), options.rounds, small=options.small)
        return
    from finding import import_comfyui

    with tempfile.TemporaryDirectory() as folder:
        import_comfyui(Path(folder))
        import torch

        from .data.scene import Scene
        from .peers.ours import Ours

        scene = Scene(options.small, torch.device("cpu"), torch.float16, RANK, float(RANK))
        ours = Ours(scene, Path(folder) / "ours", compact=True, checkpointing="off")
        for line in _stages(ours):
            sys.stdout.write(line + "\n")


def _compare(before: Path, rounds: int, *, small: bool) -> None:
    """Print the stages of the last process of each, and the ratio of the medians."""
    from finding import ROOT, find_pack

    packs, totals = {"now": ROOT, "before": before}, {"now": [], "before": []}
    tables: dict[str, str] = {}
    for number in range(rounds):
        for name in list(packs)[:: 1 if number % 2 else -1]:
            script = packs[name] / "bench" / "startup.py"
            command = [sys.executable, str(script), *(["--small"] if small else [])]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            tables[name] = done.stdout
            totals[name].append(float(done.stdout.split()[-2]))
    for name, table in tables.items():
        sys.stdout.write(f"{name}\n{table}\n")
    find_pack()
    from .ratios import say

    medians = {name: statistics.median(each) for name, each in totals.items()}
    say(startup=medians["now"] / medians["before"])


def _stages(ours: Any) -> list[str]:
    """A line for each stage in the order of their ends; the last is the whole."""
    from ..nodes.host.model import unet
    from ..nodes.host.training import live_training
    from ..nodes.host.training import train as training
    from ..trainer.batches.training_data import TrainingData

    seconds: dict[str, Any] = {}
    stages = {
        "fingerprint of the model": (training, "fingerprint"),
        "the checks of a training": (training.Request, "check"),
        "adapters, rank 32": (live_training.Beginning, "network"),
        "memory plan": (live_training, "memory_plan"),
        "plan of layers": (live_training.Mounting, "__init__"),
        "room, attachment, weights held": (live_training.Mounting, "__enter__"),
        "optimiser and loop": (live_training.Loop, "__init__"),
        "first batch": (TrainingData, "load"),
    }
    with ExitStack() as stack:
        for name, (owner, attribute) in stages.items():
            timed = _timed(getattr(owner, attribute), name, seconds)
            stack.enter_context(mock.patch.object(owner, attribute, timed))
        begin, end = _begin(training, stack), []

        def reached(*_: Any) -> None:
            end.append(_now())
            raise Reached

        stack.enter_context(mock.patch.object(unet, "predict", reached))
        with suppress(Reached):
            ours.run(1, 1, None)
    whole = end[0] - begin[0]
    rest = whole - sum(seconds.values())
    rows = [*seconds.items(), ("everything else", rest), ("total", whole)]
    head = f"{'stage':34}{'wall clock':>14}{'CPU':>16}"
    return [head, *(f"{name:34}{wall:12.2f} s{used:14.2f} s" for name, (wall, used) in rows)]


def _now() -> Any:
    """By the clock, and of CPU time; [2] seconds."""
    import numpy as np

    return np.array([time.perf_counter(), time.process_time()])


def _timed(function: Any, name: str, seconds: dict[str, Any]) -> Any:
    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = _now()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[name] = seconds.get(name, 0.0) + _now() - begin

    return timed


def _begin(training: Any, stack: ExitStack) -> list[Any]:
    """When train_lora is called, as soon as it is: the cache of random numbers is made before."""
    train, begin = training.train_lora, []

    def started(*arguments: Any) -> Any:
        begin.append(_now())
        return train(*arguments)

    stack.enter_context(mock.patch.object(training, "train_lora", started))
    return begin


if __name__ == "__main__":
    main()
