"""One training step of a reduced SDXL on the CPU, several ways side by side: counted and timed.

`COMFYUI_PATH=... python bench/step.py [--kohya CLONE] [--peft] [--batch 1] [--rounds 7] [--json FILE]`.
The ways take turns in one process; medians and their ratios to the naive way are printed. Bytes,
products and operations are counted and the same on every machine; times are this machine's. The last
lines are ratios of ours for machines: to kohya `step`, `step_again` with blocks recomputed and `saved`,
to ComfyUI's node `node`, each of the CPU time or the bytes; `around` is what of a step lies around
forward, backward, clipping and optimiser. For those of CPU time both train side by side and take turns
step by step, four pairs for each round.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.scene import Scene
    from .peers.way import Way

HEAD = "way", "saved MiB", "GFLOP", "operations", "s/step", "to naive", "of CPU", "to naive"
RANK = 8
STEPS = 4
"""Of each way in a round; the first and the last are not timed."""
PAIRS = 4
"""Of steps for each ratio in a round."""


def main() -> None:
    """Print a table, and write it as JSON where asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7, help="0: count only")
    parser.add_argument(
        "--kohya", type=Path, help="a clone of kohya's sd-scripts, to be one of the ways"
    )
    parser.add_argument(
        "--peft", action="store_true", help="diffusers with peft is one of the ways"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from finding import import_comfyui

    with tempfile.TemporaryDirectory() as folder:
        import_comfyui(Path(folder))
        found = make_ways(scene(), Path(folder), options.kohya, peft=options.peft)
        ways = {name: make() for name, make in found.items()}
        rows = _measure(ways, options.batch, options.rounds)
        ratios = _ratios(ways, {row["way"]: row for row in rows}, options.batch, options.rounds)
    sys.stdout.write("{:34}{:>10}{:>8}{:>12}{:>8}{:>10}{:>8}{:>10}\n".format(*HEAD))
    for row in rows:
        sys.stdout.write(
            "{:34}{:10.1f}{:8.2f}{:12}{:8.3f}{:10.2f}{:8.3f}{:10.2f}\n".format(*row.values())
        )
    if options.json:
        found = {"options": vars(options), "ways": rows, "ratios": ratios}
        options.json.write_text(json.dumps(found, default=str))
    from .ratios import say

    say(**ratios)


def scene() -> Scene:
    """The reduced SDXL in float32 on the CPU."""
    import torch

    from .data.scene import Scene

    return Scene(True, torch.device("cpu"), torch.float32, RANK, float(RANK))


def make_ways(
    scene: Scene, folder: Path, kohya: Path | None = None, *, peft: bool = False
) -> dict[str, Callable[[], Way]]:
    """Name -> what makes the way; ours train in ``folder``."""
    from .peers.naive import NaiveWay
    from .peers.ours import Ours

    found: dict[str, Callable[[], Way]] = {
        "naive": lambda: NaiveWay(scene),
        "naive, checkpointed": lambda: NaiveWay(scene, checkpointing=True),
        "ours": lambda: Ours(scene, folder / "ours", compact=True, checkpointing="off"),
        "ours, checkpointed": lambda: Ours(
            scene, folder / "ours", compact=True, checkpointing="full"
        ),
        "ours, not compact": lambda: Ours(scene, folder / "ours", checkpointing="off"),
    }
    if has_native():
        from .peers.native import Native

        found["ComfyUI's node"] = lambda: Native(scene)
        found["ComfyUI's node, bypass"] = lambda: Native(scene, bypass_mode=True)
    if kohya:
        from .peers.kohya import Kohya

        found["kohya"] = lambda: Kohya(scene, kohya)
        found["kohya, checkpointed"] = lambda: Kohya(scene, kohya, checkpointing=True)
    if peft:
        from .peers.diffusers import Diffusers

        found["diffusers and peft"] = lambda: Diffusers(scene)
        found["diffusers and peft, checkpointed"] = lambda: Diffusers(scene, checkpointing=True)
    return found


def has_native() -> bool:
    """Whether this ComfyUI has a Train LoRA node with a bypass mode."""
    from importlib.util import find_spec

    spec = find_spec("comfy_extras.nodes_train")
    return bool(spec and spec.origin and "bypass_mode" in Path(spec.origin).read_text("utf-8"))


def _measure(ways: dict[str, Way], batch: int, rounds: int) -> list[dict[str, Any]]:
    from .counted.counter import Counter
    from .peers.way import Clock

    counts, clocks = {}, {name: [] for name in ways}
    for name, way in ways.items():
        counter = Counter(way.weights)
        way.run(batch, 2, counter)
        counts[name] = counter.counts()
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            clocks[name].append(Clock())
            ways[name].run(batch, STEPS, clocks[name][-1])
    wall = {n: _median(s for c in each for s in c.seconds) for n, each in clocks.items()}
    used = {n: _median(s for c in each for s in c.cpu) for n, each in clocks.items()}
    return [
        {
            "way": name,
            "saved_mib": counts[name].saved / 2**20,
            "gflop": counts[name].flops / 1e9,
            "operations": counts[name].launches,
            "seconds": wall[name],
            "to_naive": wall[name] / wall["naive"],
            "processor_seconds": used[name],
            "processor_to_naive": used[name] / used["naive"],
        }
        for name in ways
    ]


def _ratios(
    ways: dict[str, Way], rows: dict[str, dict[str, Any]], batch: int, rounds: int
) -> dict[str, float]:
    """Those that the ways and what was measured of them allow."""
    from .peers.way import paired

    wanted = {
        "step": ("ours", "kohya"),
        "step_again": ("ours, checkpointed", "kohya, checkpointed"),
        "node": ("ours", "ComfyUI's node"),
    }
    found = {
        name: paired(ways[ours], ways[theirs], batch, 2 + PAIRS * rounds)
        for name, (ours, theirs) in wanted.items()
        if rounds and theirs in ways
    }
    if "kohya" in rows:
        found["saved"] = rows["ours"]["saved_mib"] / rows["kohya"]["saved_mib"]
    if rounds:
        found["around"] = _around(ways["ours"], batch, rounds)
    return found


def _around(way: Way, batch: int, rounds: int) -> float:
    """The share of a step that lies around its computation."""
    from .counted.around import Around

    around = Around()
    with around.watching():
        way.run(batch, 2 + 2 * rounds, around)
    whole, outside = around.parts()
    return outside / whole


def _median(values: Iterable[float]) -> float:
    """NaN where nothing was timed."""
    return statistics.median([*values] or [math.nan])


if __name__ == "__main__":
    main()
