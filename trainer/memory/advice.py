"""What would make a run fit that does not: single changes, and what each would need."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..config.optimiser import OptimiserConfig
from ..config.optimisers import ADAMW_ALIKE
from ..config.train import TrainConfig
from .activations import MIB
from .plan import GIB, Need, plan_memory

LOWEST_RANK = 4
SIDES = (1024, 896, 768, 640, 512)
EIGHT_BITS = "AdamW8bit"
WORTH = 0.97
"""A change that leaves more than this of the need is not worth a word."""


class Change(NamedTuple):
    """A single change of a run, the least bytes that it then needs, and those that it frees."""

    words: str
    reserve: int
    freed: int = 0

    def __str__(self) -> str:
        gain = f"frees {self.freed / GIB:.1f}" if self.freed else f"{self.reserve / GIB:.1f}"
        return f"{self.words} ({gain} GiB)"


def advice(
    config: TrainConfig,
    need: Need,
    available: int,
    weights: int,
    learned: Callable[[OptimiserConfig], int],
) -> str:
    """A sentence about a run that does not fit into ``available`` bytes.

    weights: bytes of the frozen weights that can leave the device; learned: of adapters and optimiser under another optimiser,
    ValueError where it is not available.
    """
    least = plan_memory(config, need, 0).reserve
    changes = [
        change
        for change in _changes(config, need, available, weights, learned)
        if change.reserve - change.freed < WORTH * least
    ]
    enough = [change for change in changes if change.reserve - change.freed <= available]
    said = ", ".join(str(change) for change in enough or changes)
    lead = "Any one of these is enough" if enough else "No single change is enough; of help are"
    return (
        f"needs {least / GIB:.1f} GiB beside the model's weights, {_amount(least - available)} more than is free"
        + (f". {lead}: {said}." if changes else ".")
    )


def _amount(size: int) -> str:
    """MiB where they are few, else GiB."""
    return f"{math.ceil(size / MIB)} MiB" if size < GIB else f"{size / GIB:.1f} GiB"


def _changes(
    config: TrainConfig,
    need: Need,
    available: int,
    weights: int,
    learned: Callable[[OptimiserConfig], int],
) -> Iterator[Change]:
    def change(words: str, config: TrainConfig = config, **parts: int) -> Change:
        return Change(words, plan_memory(config, dataclasses.replace(need, **parts), 0).reserve)

    if config.checkpointing == "off":
        yield change("checkpointing auto", dataclasses.replace(config, checkpointing="auto"))
    if True not in config.kinds_of_layers and config.lora.is_plain:
        yield change("compact", dataclasses.replace(config, compact=True))
    if config.optimiser.type in ADAMW_ALIKE and "8bit" not in config.optimiser.type:
        try:
            optimiser = dataclasses.replace(config.optimiser, type=EIGHT_BITS, arguments=())
            yield change(f"the optimiser {EIGHT_BITS}", learned=learned(optimiser))
        except ValueError:  # bitsandbytes is not installed
            pass
    is_open = not config.lora.dim_from_weights  # else the ranks are those of a file
    ranks = [rank for n in range(1, 10) if is_open and (rank := need.rank >> n) >= LOWEST_RANK]
    parts = ((need.learned * r // need.rank, need.update * r // need.rank, r) for r in ranks)
    yield from _first_enough(
        available,
        (change(f"rank {r}", learned=own, update=update, rank=r) for own, update, r in parts),
    )
    sides = [side for side in SIDES if side * side < need.pixels]
    yield from _first_enough(
        available,
        (change(f"images of {s} x {s} pixels", pixels=s * s) for s in sides),
    )
    if not config.speed.stream_weights:
        words = "stream_weights of Speed and Memory Settings"
        yield Change(words, plan_memory(config, need, 0).reserve, weights)


def _first_enough(available: int, changes: Iterable[Change]) -> list[Change]:
    """The first of ever greater changes that is enough, or else the last."""
    last: list[Change] = []
    for change in changes:
        last = [change]
        if change.reserve <= available:
            break
    return last
