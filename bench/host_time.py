"""What the host takes for a step: SDXL with all its layers and hardly any width, against kohya.

`COMFYUI_PATH=... OMP_NUM_THREADS=1 python bench/host_time.py [--kohya CLONE] [--rounds 9]`. A fast card
waits for the host at batch 1, so this is what a step takes there at least. Ours is the whole training
that the Train node starts: data, draws, books, clipping, AdamW. kohya is its network in a plain loop,
without data and logging; clipping and AdamW are one call each, as on a card. The ways take turns in one
process; shown are medians of CPU time. For the ratio to kohya both train side by side and take turns
step by step. Operations are counted over a whole step, so they are the same on every machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .peers.way import Way

STEPS = 6
"""Of each way in a round; the first and the last are not timed."""
PAIRS = 4
"""Of steps for the ratio in a round."""
PEER = "kohya, factors cast at every use"


def main() -> None:
    """Print a table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kohya", type=Path, help="a clone of kohya's sd-scripts")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    from finding import import_comfyui

    with tempfile.TemporaryDirectory() as folder:
        import_comfyui(Path(folder))
        import torch

        torch.set_num_threads(1)
        _measure(make_ways(Path(folder), options.kohya), options.rounds)


def make_ways(folder: Path, kohya: Path | None = None) -> dict[str, Callable[[], Way]]:
    """Name -> what makes the way; ours train in ``folder``."""
    from .data.thin_sdxl import ThinScene
    from .peers.naive import NaiveWay
    from .peers.ours import Ours

    scene = ThinScene()
    found: dict[str, Callable[[], Way]] = {
        "ours": lambda: Ours(scene, folder / "ours", compact=True, checkpointing="off"),
        "ours, not compact": lambda: Ours(scene, folder / "ours", checkpointing="off"),
        "naive": lambda: NaiveWay(scene),
    }
    if kohya:
        from .peers.kohya import Kohya

        found[PEER] = lambda: Kohya(scene, kohya, casts=True)
    return found


def _measure(makers: dict[str, Callable[[], Way]], rounds: int) -> None:
    from .peers.way import paired
    from .ratios import say

    ways = {name: make() for name, make in makers.items()}
    launches = {name: operations(way) for name, way in ways.items()}
    took = cpu_seconds(ways, rounds)
    sys.stdout.write(f"{'way':36}{'operations':>12}{'ms/step':>10}{'to ours':>10}\n")
    for name in ways:
        row = launches[name], took[name] * 1e3, took[name] / took["ours"]
        sys.stdout.write("{:36}{:12}{:10.1f}{:10.2f}\n".format(name, *row))
    if PEER in ways:
        host = paired(ways["ours"], ways[PEER], 1, 2 + PAIRS * rounds)
        say(host=host, operations=launches["ours"] / launches[PEER])


def operations(way: Way) -> int:
    """How many operations that touch numbers a whole step dispatches."""
    from .counted.counter import WholeStep

    counter = WholeStep()
    way.run(1, 3, counter)
    return counter.launches


def cpu_seconds(ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """The median CPU seconds of a step; the ways take turns."""
    from .peers.way import Clock

    seconds = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            clock = Clock()
            ways[name].run(1, STEPS, clock)
            seconds[name] += clock.cpu
    return {name: statistics.median(each) for name, each in seconds.items()}


if __name__ == "__main__":
    main()
