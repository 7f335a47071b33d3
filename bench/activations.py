"""What `trainer/memory/plan.py` is calculated from, counted on SDXL's UNet without computing: 1024 x 1024, float16.

`COMFYUI_PATH=... python bench/activations.py` prints MiB that are kept for backward: for each sample, for
each sample and rank, and for each rank once; then what comes on top while a step computes, and one
whole sample by level. The model lies on PyTorch's meta device, which has shapes and no numbers. But for
the last table it has as few transformer blocks as there can be, since those of a size are alike.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..trainer.layers.recompute import Again
    from .counted.full_size import Attention, FullSize

MIB, GIB = 1 << 20, 1 << 30
SIDE, RANK, CONV_RANK = 1024, 32, 8
LINE = "{:16}{:16}{:20}{:>10}{:>16}{:>12}\n"


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    from finding import import_comfyui

    import_comfyui()
    write = sys.stdout.write
    write(LINE.format("layers", "blocks", "again", "a sample", "sample and rank", "a rank"))
    for compact in (False, True):
        for names, numbers in kept(compact):
            write(LINE.format(_word(compact), *names, *(f"{number:.5f}" for number in numbers)))
    write(
        "\n{:16}{:22}{:>10}{:>10}{:>16}\n".format(
            "layers", "again in resnets", "a sample", "conv", "of scores"
        )
    )
    for compact in (False, True):
        for row in transient(compact):
            write("{:16}{:22}{:10.2f}{:10.2f}{:16.3f}\n".format(_word(compact), *row))
    write("\n{:16}{:22}{:>10}{:>10}\n".format("layers", "again", "kept GiB", "peak GiB"))
    for compact in (False, True):
        for row in whole(compact):
            write("{:16}{:22}{:10.2f}{:10.2f}\n".format(_word(compact), *row))


def kept(compact: bool) -> Iterator[tuple[tuple[str, str], tuple[float, ...]]]:
    """(Blocks, level) and the three numbers of one block, or of all that is outside of blocks."""
    from ..trainer.layers.recompute import Again

    everywhere = {"": Again.ALL}
    sdxl, deeper, deepest = 1, 2, 3

    def of(depth: int, levels: dict[str, Again], conv: bool = False) -> Any:
        """Bytes for a batch and a rank; of conv_rank where that is meant, beside none."""
        at = depth, tuple(levels.items()), compact
        if not conv:
            return lambda batch, rank: counted(*at, batch, rank)
        return lambda batch, rank: counted(*at, batch, RANK, rank) - counted(*at, batch, RANK)

    def less(one: Any, other: Any, count: int = 1) -> Callable[[int, int], float]:
        return lambda *at: (one(*at) - other(*at)) / count

    small = less(of(deepest, everywhere), of(deeper, everywhere), 6)
    large = less(less(of(deeper, everywhere), of(sdxl, everywhere)), lambda *at: 6 * small(*at), 5)
    sizes = unet(sdxl).sizes
    inside = lambda *at: sizes["large"] * large(*at) + sizes["small"] * small(*at)  # noqa: E731
    yield ("outside", ""), _numbers(less(of(sdxl, everywhere), inside), RANK)
    yield ("1 large", "ALL"), _numbers(large, RANK)
    yield ("1 small", "ALL"), _numbers(small, RANK)
    for size, count in sizes.items():
        for level in _levels(compact, size):
            more = less(of(sdxl, {**everywhere, size: level}), of(sdxl, everywhere), count)
            yield (f"more: 1 {size}", level.name), _numbers(more, RANK)
    conv = of(sdxl, everywhere, True)
    yield ("outside", "conv_rank"), _numbers(conv, CONV_RANK)
    more = less(of(sdxl, {**everywhere, "resnet": Again.NOTHING}, True), conv, sizes["resnet"])
    yield ("more: 1 resnet", "NOTHING, conv_rank"), _numbers(more, CONV_RANK)


def transient(compact: bool) -> Iterator[tuple[str, float, float, float]]:
    """Level of resnets, MiB that a sample adds to what is kept, those with convolutions, copies of scores."""
    from ..trainer.layers.recompute import Again

    def on_top(level: Again, conv: int = 0, attention: Attention = "flash") -> float:
        return counted(1, (("", level),), compact, 1, RANK, conv, attention, on_top=True) / MIB

    for level in (Again.NOTHING, Again.ALL):
        yield level.name, on_top(level), on_top(level, CONV_RANK), on_top(level, 0, "math") / 320


def whole(compact: bool) -> Iterator[tuple[str, float, float]]:
    """Level of transformer blocks, GiB that a sample keeps, GiB at its peak; resnets with the last two."""
    from ..trainer.layers.recompute import Again

    for level in (*_levels(compact, "large"), Again.ALL):
        again = Again.ALL if level >= Again.ALL_BUT_ATTENTION else Again.NOTHING
        at = None, (("", level), ("resnet", again)), compact, 1, RANK
        kept = counted(*at)
        yield level.name, kept / GIB, (kept + counted(*at, on_top=True)) / GIB


@functools.cache
def unet(depth: int | None) -> FullSize:
    """SDXL's, with at most so many transformer blocks at a place."""
    from .counted.full_size import FullSize

    return FullSize(depth)


@functools.cache
def counted(
    depth: int | None,
    levels: tuple[tuple[str, Again], ...],
    compact: bool,
    batch: int,
    rank: int,
    conv_rank: int = 0,
    attention: Attention = "flash",
    *,
    on_top: bool = False,
) -> int:
    """Bytes kept at these levels by size, "" for all others; or those of the peak on top of them."""
    from ..trainer.config.lora import LoraConfig
    from ..trainer.config.train import TrainConfig

    config = TrainConfig(lora=LoraConfig(rank=rank, conv_rank=conv_rank))
    sdxl, of = unet(depth), dict(levels)
    all_levels = {block: of.get(block.size, of[""]) for block in sdxl.blocks}
    found = sdxl.micro_batch(
        all_levels, config, SIDE, attention, compact=compact, batch=batch, backward=on_top
    )
    return found.peak - found.kept if on_top else found.kept


def _numbers(of: Callable[[int, int], float], rank: int) -> tuple[float, float, float]:
    """MiB of a sample, of a sample and rank, of a rank: from two batches and two ranks."""

    def sample(rank: int) -> float:
        return (of(2, rank) - of(1, rank)) / MIB

    each = (sample(2 * rank) - sample(rank)) / rank
    once = (of(1, 2 * rank) - of(1, rank)) / MIB / rank - each
    return sample(rank) - each * rank, each, once


def _levels(compact: bool, size: str) -> list[Again]:
    """All but the last."""
    from ..trainer.layers.recompute import Again

    if size == "resnet":
        return [Again.NOTHING]
    return [a for a in [*Again][:-1] if compact or a not in (Again.FEED_FORWARD, Again.PROJECTIONS)]


def _word(compact: bool) -> str:
    return "compact" if compact else "layer by layer"


if __name__ == "__main__":
    main()
