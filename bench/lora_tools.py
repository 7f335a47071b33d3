"""What the LoRA tools cost on LoRAs of SDXL's size: seconds by the clock and of the processor.

`COMFYUI_PATH=... python bench/lora_tools.py [--rank 32]`. The shapes are those of SDXL's 722 linear layers,
the numbers random, for the time does not depend on them. Extract LoRA is timed on one layer of each shape
and multiplied by how many there are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..trainer.lora_tools.factors import Factors


class Took(NamedTuple):
    """Seconds by the clock and of the processor."""

    clock: float
    processor: float


def main() -> None:
    """Print a line for each tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, default=32)
    rank = parser.parse_args().rank
    from finding import import_comfyui

    import_comfyui()
    for name, took in measured(rank):
        sys.stdout.write(f"| {name} | {took.clock:.1f} s | {took.processor:.1f} s |\n")
        sys.stdout.flush()


def measured(rank: int) -> Iterator[tuple[str, Took]]:
    """The tools by name, at this rank."""
    import torch

    from ..trainer.lora_tools.extract import extract
    from ..trainer.lora_tools.merge import merge
    from ..trainer.lora_tools.resize import Size, resize

    shapes = _shapes()
    one, other = _lora(shapes, rank), _lora(shapes, rank)
    half = Size(max(rank // 2, 1))
    yield f"Resize LoRA, rank {rank} to {half.rank}", _timed(lambda: resize(one, half))
    both = [(one, 0.8), (other, 0.4)]
    yield f"Merge LoRAs, two of rank {rank}", _timed(lambda: merge(both))
    merged = merge(both)
    yield f"Resize LoRA, rank {2 * rank} to {rank}", _timed(lambda: resize(merged, Size(rank)))
    whole = Took(0.0, 0.0)
    for shape, count in Counter(shapes.values()).items():
        change = torch.randn(shape)
        took = _timed(lambda change=change: extract(change, Size(rank), "layer"))
        whole = Took(whole.clock + count * took.clock, whole.processor + count * took.processor)
    yield f"Extract LoRA, rank {rank}", whole


def _shapes() -> dict[str, tuple[int, int]]:
    """Of SDXL's linear layers, by kohya's stem."""
    from ..trainer.config.lora import LoraConfig
    from ..trainer.network.unet_targets import find_targets
    from .data.reduced_sdxl import full_size

    targets = find_targets(full_size(), LoraConfig())
    return {target.key: (target.shape[0], target.shape[1]) for target in targets}


def _lora(shapes: dict[str, tuple[int, int]], rank: int) -> dict[str, Factors]:
    import torch

    from ..trainer.lora_tools.factors import Factors

    return {
        stem: Factors(torch.randn(rows, rank), torch.randn(rank, columns), 1.0, (columns,))
        for stem, (rows, columns) in shapes.items()
    }


def _timed(work: Callable[[], object]) -> Took:
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - clock, time.process_time() - processor)


if __name__ == "__main__":
    main()
