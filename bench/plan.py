"""The memory plan beside the bytes that two whole steps of our loop hold: SDXL, full size, nothing computed.

`COMFYUI_PATH=... python bench/plan.py` prints a table for cards of 24, 16, 12 and 8 GB; a row takes up to
a minute. `--cards` prints the README's table, what the defaults get, without counting, and `--full` that of full fine-tuning.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..trainer.config.train import TrainConfig
    from ..trainer.memory.plan import MemoryPlan
    from .counted.full_size import Attention, FullSize

GIB = 1 << 30
TAKEN = GIB // 2
"""Of a card, by the desktop and CUDA's context."""
RESERVED = 400 << 20
"""What ComfyUI leaves free on Linux."""
CARDS = 24, 16, 12, 8
LINE = "| {} GB | {} | {} | {} | {} | {} | {:.2f} | {:.2f} | {:+.2f} |\n"


class Case(NamedTuple):
    """A run on a card. compact: a choice of Train, or None for the defaults."""

    card: int
    batch: int = 2
    side: int = 1024
    conv_rank: int = 0
    compact: bool | None = None
    attention: Attention = "flash"

    def config(self) -> TrainConfig:
        """The settings of Train."""
        from ..trainer.config.lora import LoraConfig
        from ..trainer.config.speed import SpeedConfig
        from ..trainer.config.train import TrainConfig

        return TrainConfig(
            batch_size=self.batch,
            lora=LoraConfig(conv_rank=self.conv_rank),
            compact=bool(self.compact),
            speed=SpeedConfig(auto_compact=self.compact is None),
        )

    def plan(self, sdxl: FullSize) -> MemoryPlan:
        """What Train would do."""
        from ..trainer.memory.plan import plan_memory

        config = self.config()
        need = sdxl.need(config, self.side, fused=self.attention != "math")
        return plan_memory(config, need, self.card * GIB - TAKEN - RESERVED - sdxl.weights)


CASES = (
    *(Case(card) for card in CARDS),
    Case(24, 4, 1536, compact=True),
    Case(24, 4, compact=False, conv_rank=8),
    Case(24, 1, 1536, compact=False),
    Case(24, 2, compact=False, attention="math"),
    Case(24, 1, 1536, compact=True, attention="math"),
    Case(16, 4, compact=True, conv_rank=8, attention="efficient"),
    Case(16, 2, 1536, compact=False, attention="efficient"),
    Case(16, 4, compact=True, attention="math"),
    Case(12, 1, compact=False),
    Case(12, 4, 1536, compact=True),
    Case(12, 2, compact=False, conv_rank=8, attention="efficient"),
    Case(12, 1, 1536, compact=False, conv_rank=8),
    Case(12, 1, compact=False, attention="math"),
    Case(12, 2, compact=True, conv_rank=8, attention="math"),
    Case(8, 1, compact=False, attention="efficient"),
    Case(8, 1, 1536, compact=True),
    Case(8, 4, 1536, compact=False, attention="math"),
)
"""Each card with each size of image, with and without compact layers, convolutions and fused attention."""


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", action="store_true", help="the table of the README")
    parser.add_argument("--full", action="store_true", help="the table of full fine-tuning")
    options = parser.parse_args()
    from finding import import_comfyui

    import_comfyui()
    import torch

    from .counted import full_tuning
    from .counted.full_size import FullSize

    if options.full:
        sdxl = FullSize(dtype=torch.bfloat16)
        for line in full_tuning.rows(sdxl):
            sys.stdout.write(f"{line}\n")
        return
    sdxl = FullSize()
    if options.cards:
        sys.stdout.write("".join(f"{line}\n" for line in cards(sdxl)))
        return
    for case, plan, peak in compared(sdxl, CASES):
        sys.stdout.write(row(case, plan, peak))
        sys.stdout.flush()


def cards(sdxl: FullSize) -> Iterator[str]:
    """A line of the README for each card: the default run."""
    for card in reversed(CARDS):
        plan = Case(card).plan(sdxl)
        free = "" if plan.fits else "; parts of the model wait in RAM"
        yield f"| {card} GB | {words(plan)}{free} | {plan.reserve / GIB:.1f} GiB |"


def words(plan: MemoryPlan) -> str:
    """What a plan does, as the log says it."""
    return plan.describe().removeprefix("memory plan: ").rpartition(";")[0]


def compared(sdxl: FullSize, cases: Iterable[Case]) -> Iterator[tuple[Case, MemoryPlan, int]]:
    """The plan of each case, and the peak of two steps by it, of one micro batch each."""
    for case in cases:
        plan = case.plan(sdxl)
        config = replace(case.config(), batch_size=plan.micro_batch)
        yield case, plan, sdxl.steps(plan, config, case.side, case.attention)


def row(case: Case, plan: MemoryPlan, peak: int) -> str:
    """A line of the table: the case, the plan, GiB planned, counted, and more than needed."""
    compact = {None: "auto", True: "on", False: "off"}[case.compact]
    planned, counted = plan.reserve / GIB, peak / GIB
    what = f"batch {case.batch}, {case.side} px", case.conv_rank, compact, case.attention
    return LINE.format(case.card, *what, words(plan), planned, counted, planned - counted)


if __name__ == "__main__":
    main()
