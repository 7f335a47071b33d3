"""What a run's books cost as it grows longer: rows, resuming, planning and the plot, timed on the CPU.

`python bench/length.py [--steps 1000 10000 100000]`. No model is trained: the losses are made up. Each
length is a process of its own; memory is the peak of resident pages above what the imports take.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

LENGTHS = (1_000, 10_000, 100_000)
IMAGES, LATEST = 40, 1_000
MIB = 1 << 20
HEAD = (
    "| steps | a row, ms | files, MiB | opening again, s | the plan from there, s | plot, s | memory, MiB |\n"
    "|---|---|---|---|---|---|---|\n"
)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(_row(options.one))
        return
    sys.stdout.write(HEAD)
    for steps in options.steps:
        command = [sys.executable, __file__, "--one", str(steps)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        sys.stdout.write(done.stdout)
        sys.stdout.flush()


def _row(steps: int) -> str:
    from finding import find_pack

    find_pack()
    import torch

    from ..trainer.batches.training_data import TrainingData
    from ..trainer.config.train import TrainConfig
    from ..trainer.curves.loss_plot import draw_loss
    from ..trainer.runs.history import History
    from .scale import resident

    losses = [0.1 + (step * 37 % 101) / 1000 for step in range(steps)]
    before = resident("VmRSS")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        history = History(folder, [], torch.device("cpu"), lambda _: None)
        for step in range(1, steps - LATEST + 1):
            history.on_step(_event(step, steps, losses))
        begin = time.perf_counter()
        for step in range(steps - LATEST + 1, steps + 1):
            history.on_step(_event(step, steps, losses))
        row = (time.perf_counter() - begin) / LATEST
        history.close()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        opened = _seconds(
            lambda: History(folder, losses, torch.device("cpu"), lambda _: None).close()
        )
    data = TrainingData(_cached(), "none")
    planned = _seconds(lambda: next(islice(data.steps(TrainConfig(), steps), 1)))
    plot = _seconds(lambda: draw_loss(losses))
    memory = resident("VmHWM") - before
    return (
        f"| {steps:,} | {row * 1e3:.2f} | {size / MIB:.1f} | {opened:.2f} | {planned:.2f} "
        f"| {plot:.2f} | {memory / MIB:.0f} |\n"
    )


def _event(step: int, steps: int, losses: list[float]) -> Any:
    from ..trainer.training.loop import StepEvent

    bands = (losses[step - 1],) * 10
    return StepEvent(
        step, steps, 1, False, losses[step - 1], 1e-4, 0.1, True, step * 0.5, step, bands=bands
    )


def _cached() -> Any:
    """Forty images of one bucket, as they are after Cache Latents."""
    from ..trainer.cache.latents import CachedDataset, CachedItem, LatentConfig
    from ..trainer.dataset.dataset import Dataset
    from ..trainer.sdxl.buckets import BucketConfig, SizeConditioning

    side = (1024, 1024)
    whole = SizeConditioning(side, (0, 0), side)
    items = tuple(
        CachedItem(
            str(number), f"{number}.png", "a caption", side, whole, whole, str(number), None,
            1, 1.0, False, "set",
        )
        for number in range(IMAGES)
    )  # fmt: skip
    return CachedDataset(items, Path(), LatentConfig(BucketConfig(), "none"), Dataset(()))


def _seconds(work: Any) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
