"""One training step of a reduced SDXL on the CPU, several ways side by side: counted and timed.

`COMFYUI_PATH=... python bench/step.py [--batch 1] [--rank 8] [--rounds 7] [--json FILE]`. The ways take
turns in one process; medians and their ratios to the naive way are printed. Bytes and operations are
counted and the same on every machine; times are this machine's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HEAD = "way", "saved MiB", "GFLOP", "ms/step", "to naive"


def main() -> None:
    """Print a table, and write it as JSON where asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from finding import import_comfyui

    import_comfyui()
    with ExitStack() as stack:
        rows = _measure(ways(options.batch, options.rank, stack), options.rounds)
    sys.stdout.write("{:24}{:>12}{:>10}{:>10}{:>10}\n".format(*HEAD))
    for row in rows:
        sys.stdout.write("{:24}{:12.1f}{:10.2f}{:10.1f}{:10.2f}\n".format(*row.values()))
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "ways": rows}, default=str))


def ways(batch: int, rank: int, stack: ExitStack) -> dict[str, tuple[Callable[[], Any], Any]]:
    """Name -> (a function that makes the loss, the model whose weights do not count)."""
    from pack.bench import reduced_sdxl
    from pack.bench.naive import Naive
    from pack.nodes.host.unet import predict
    from pack.nodes.host.weights import ComfyWeights
    from pack.trainer.attach import Attachment, checkpoint_plan
    from pack.trainer.compact_plan import compact_plan
    from pack.trainer.config import LoraConfig
    from pack.trainer.network import Network
    from pack.trainer.targets import find_targets

    inputs = reduced_sdxl.make_inputs(batch)
    config = LoraConfig(rank=rank, alpha=float(rank))

    def ours(recomputed: bool) -> tuple[Callable[[], Any], Any]:
        unet = reduced_sdxl.make_unet()
        network = Network(find_targets(unet, config))
        plan = compact_plan(unet, network, ComfyWeights())
        if recomputed:
            plan += checkpoint_plan(unet)
        stack.enter_context(Attachment(plan))
        return lambda: predict(unet, *inputs).square().mean(), unet

    def naive(recomputed: bool) -> tuple[Callable[[], Any], Any]:
        unet = reduced_sdxl.make_unet()
        plain = Naive(unet, [target.path for target in find_targets(unet, config)], rank, rank)
        x = inputs.x.clone()
        if recomputed:
            plain.checkpoint_blocks()
            x.requires_grad_()  # as kohya does it, for its checkpoints to work
        return lambda: predict(plain.unet, x, *inputs[1:]).square().mean(), plain.unet

    return {
        "naive": naive(False),
        "naive, blocks again": naive(True),
        "ours": ours(False),
        "ours, blocks again": ours(True),
    }


def _measure(found: dict[str, tuple[Callable[[], Any], Any]], rounds: int) -> list[dict[str, Any]]:
    from pack.bench.counting import count

    counts = {name: count(loss, unet.parameters()) for name, (loss, unet) in found.items()}
    times: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds):
        for name in list(found)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            found[name][0]().backward()
            times[name].append((time.perf_counter() - start) * 1000)
    first = statistics.median(times["naive"])
    return [
        {
            "way": name,
            "saved_mib": counts[name].saved / 2**20,
            "gflop": counts[name].flops / 1e9,
            "ms": statistics.median(times[name]),
            "to_naive": statistics.median(times[name]) / first,
        }
        for name in found
    ]


if __name__ == "__main__":
    main()
