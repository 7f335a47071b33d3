"""Two processes that train together, against one with half the batch: what the exchange costs.

`COMFYUI_PATH=... OMP_NUM_THREADS=1 python bench/several_cards.py [--rounds 7] [--steps 8] [--batch 2]`.
The reduced SDXL on the CPU, a thread for each process, gloo between them. Three ways take turns in one
run: one process with half the batch; two such, each by itself, at the same time; two that share the whole
batch and exchange gradients. The second tells what the machine costs (memory, other work) from what the
exchange does. Steps are rank 0's; medians over all rounds. What the exchanges of a step take by
themselves is timed at the end, when nobody has to be waited for.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..nodes.host.training.request import Errand
    from ..trainer.device.ranks import Ranks
    from .peers.way import Clock

WORLD, RANK = 2, 16
"""Processes; the rank of the LoRA."""
TIMES = 20
"""The exchanges are timed."""
ALONE, APART, TOGETHER = "one", "two, each by itself", "two, together"


def main() -> None:
    """Print a table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8, help="of a training; two are not timed")
    parser.add_argument("--batch", type=int, default=2, help="of both processes together")
    options = parser.parse_args()
    from finding import import_comfyui

    with tempfile.TemporaryDirectory() as folder:
        import_comfyui(Path(folder))
        import torch

        torch.set_num_threads(1)
        _in_two_processes(lambda ranks: _measure(ranks, Path(folder), options))


def _in_two_processes(work: Callable[[Ranks], None]) -> None:
    """Do it in this process as rank 0 and in a fork as rank 1."""
    import torch

    from ..trainer.device.ranks import joined

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE=str(WORLD))
    other = os.fork()
    os.environ["RANK"] = "0" if other else "1"
    try:
        with joined(torch.device("cpu")) as ranks:
            work(ranks)
    finally:
        if not other:
            os._exit(0)
    os.waitpid(other, 0)


def _measure(ranks: Ranks, folder: Path, options: argparse.Namespace) -> None:
    from .ratios import say

    trainer = _Trainer(ranks, folder, options.steps)
    ways = {
        ALONE: lambda: trainer.alone(options.batch // WORLD) if ranks.leads else None,
        APART: lambda: trainer.alone(options.batch // WORLD),
        TOGETHER: lambda: trainer.together(options.batch),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            ranks.gather(None)
            clock = ways[name]()
            if clock is not None:
                wall[name] += clock.seconds
                cpu[name] += clock.cpu
    exchange = _exchange(ranks, ranks.tell(trainer.learned))
    if not ranks.leads:
        return
    took = {name: statistics.median(wall[name]) for name in ways}
    images = {ALONE: options.batch // WORLD, APART: options.batch, TOGETHER: options.batch}
    sys.stdout.write(f"{'processes':24}{'images':>8}{'s/step':>10}{'CPU s':>10}{'to one':>10}\n")
    for name in ways:
        row = images[name], took[name], statistics.median(cpu[name]), took[name] / took[ALONE]
        sys.stdout.write("{:24}{:8}{:10.3f}{:10.3f}{:10.2f}\n".format(name, *row))
    sys.stdout.write(f"the exchanges of a step, {trainer.learned} numbers: {exchange:.3f} s\n")
    say(
        efficiency=took[ALONE] / took[TOGETHER],
        of_what_the_machine_allows=took[APART] / took[TOGETHER],
    )


def _exchange(ranks: Ranks, numbers: int) -> float:
    """Median seconds of what the ranks exchange in a step, gradients of so many numbers."""
    import torch

    gradients, took = torch.ones(numbers), []
    for _ in range(TIMES):
        ranks.gather(None)
        begin = time.perf_counter()
        ranks.gather((0, [[0]], [[0.0], [0.0]], [True] * 1000))
        ranks.sum(gradients)
        ranks.tell(None)
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


class _Trainer:
    """Trainings of one rank, each from scratch."""

    def __init__(self, ranks: Ranks, folder: Path, steps: int) -> None:
        import torch

        from .data.scene import Scene
        from .peers.ours import Ours

        self._ranks, self._steps = ranks, steps
        scene = Scene(True, torch.device("cpu"), torch.float32, RANK, float(RANK))
        own = folder / f"rank {ranks.rank}"
        self._alone = Ours(scene, own, checkpointing="off")
        self._joint = Ours(scene, own, ranks=ranks, checkpointing="off")

    @property
    def learned(self) -> int:
        """Numbers of the LoRA that was last trained together."""
        return sum(tensor.numel() for tensor in self._joint.weights() if tensor.requires_grad)

    def alone(self, batch: int) -> Clock:
        """Of a training that knows nobody else."""
        from .peers.way import Clock

        clock = Clock()
        self._alone.run(batch, self._steps, clock)
        return clock

    def together(self, batch: int) -> Clock | None:
        """Of a training of all ranks; None but for rank 0."""
        import torch

        from ..nodes.host.ranks.other_ranks import run_errand
        from .peers.way import Clock

        clock = Clock()
        if self._ranks.leads:
            self._joint.run(batch, self._steps, clock)
            return clock
        with torch.inference_mode():
            errand: Errand | None = self._ranks.tell(None)
            assert errand is not None  # there is no earlier run to be found
            run_errand(errand, self._joint.patcher, None, None, self._ranks)
        return None


if __name__ == "__main__":
    main()
