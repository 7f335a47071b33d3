"""What the memory plan asks for in full fine-tuning, beside the weights: one image of 1024 x 1024 at a time.

`bench/plan.py --full` prints the rows, which stand in docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...trainer.config.lora import LoraConfig
from ...trainer.config.optimiser import OptimiserConfig
from ...trainer.config.optimisers import OptimiserType
from ...trainer.config.train import TrainConfig
from ...trainer.memory.plan import plan_memory, plans
from .full_size import FullSize

GIB = 1 << 30
TAKEN = GIB // 2 + (400 << 20)
"""Of a card, by the desktop, CUDA's context and what ComfyUI leaves free on Linux."""
CARDS = 24, 16
SIDE = 1024
ADAFACTOR = ("scale_parameter=False", "relative_step=False", "warmup_init=False")
OPTIMISERS: tuple[OptimiserType, ...] = ("AdamW", "Adafactor")
PARTS = {
    "whole UNet": (),
    "attention and feed-forward": ("attention", "feed-forward"),
    "attention": ("attention",),
}


class Case(NamedTuple):
    """A training: what of the UNet, with which optimiser, and how memory is saved."""

    trained: str
    optimiser: OptimiserType
    fused: bool
    narrow: bool

    def config(self) -> TrainConfig:
        """The settings of Train."""
        arguments = ADAFACTOR if self.optimiser == "Adafactor" else ()
        return TrainConfig(
            batch_size=1,
            lora=LoraConfig(
                algorithm="full",
                parts=PARTS[self.trained],
                fused_backward=self.fused,
                bf16_weights=self.narrow,
            ),
            optimiser=OptimiserConfig(type=self.optimiser, arguments=arguments),
        )


CASES = [
    Case(trained, optimiser, fused, narrow)
    for trained in PARTS
    for optimiser in OPTIMISERS
    for fused in (False, True)
    for narrow in (False, True)
]


def rows(sdxl: FullSize) -> Iterator[str]:
    """The lines of the table."""
    return (row(sdxl, case) for case in CASES)


def row(sdxl: FullSize, case: Case) -> str:
    """A line of the table: GiB beside the weights at least and at most, and what each card gets."""
    config = case.config()
    need = sdxl.need(config, SIDE)
    reserves = [plan.reserve / GIB for plan in plans(config, need, None)]
    got = []
    for card in CARDS:
        free = card * GIB - TAKEN
        plan = plan_memory(config, need, free - sdxl.weights)
        words = "as it is" if not any(plan.levels.values()) else "blocks computed again"
        if not plan.fits:
            streamed = plan_memory(config, need, free - sdxl.ring)
            words = "`stream_weights`" if streamed.fits else "no"
        got.append(words)
    on = ["on" if choice else "off" for choice in (case.fused, case.narrow)]
    numbers = f"{min(reserves):.1f}", f"{reserves[0]:.1f}"
    return f"| {' | '.join([case.trained, case.optimiser, *on, *numbers, *got])} |"


def counted(sdxl: FullSize, case: Case) -> int:
    """The most bytes of two steps by the smallest plan, weights left out."""
    config = case.config()
    every = plans(config, sdxl.need(config, SIDE), None)
    return sdxl.steps(min(every, key=lambda plan: plan.reserve), config, SIDE)
