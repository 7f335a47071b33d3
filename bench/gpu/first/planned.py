"""The memory plan of a first Run with defaults against what PyTorch allocates, on a smaller card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ....trainer.config.train import TrainConfig
from ...peers.ours import Ours
from .verdicts import Place, Row, measured, verdict, waiting
from .watching import Steps, noted_descents, noted_plans, resident_bytes

GIB = 1 << 30
STEPS = 6
MOST_ABOVE = 1.0
"""GiB that a plan may ask for beyond the peak."""


def check(place: Place) -> Iterator[Row]:
    """fp16 weights, batch 2, everything else as a new Train node has it."""
    ours = Ours(place.scene(torch.float16), place.folder / "ours", managed=True)
    if place.is_card:
        from ..small_card import pretend

        pretend(place.cap)
        torch.cuda.empty_cache()  # of making the model
        torch.cuda.reset_peak_memory_stats()
    batch = TrainConfig().batch_size
    cached = ours.cache(max(batch, 2))

    def look(event: Any) -> int:
        return resident_bytes(ours.patcher)

    follower, steps = Steps(look), 2 if place.small else STEPS
    with noted_plans() as plans, noted_descents() as ran_out:
        ours.train(cached, ours.config(batch, steps), follower.join)
    plan = plans[-1]
    if not place.is_card:
        yield measured(f"{len(follower.found)} steps; {plan.describe()}")
        yield waiting("the peak of memory beside the plan")
        return
    peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    weights = max(follower.found)
    beside = (peak - weights) / GIB
    planned = plan.reserve / GIB
    text = (
        f"{place.cap:g} GiB: planned {planned:.2f} beside the weights, measured {beside:.2f} "
        f"(weights {weights / GIB:.2f}, allocated {peak / GIB:.2f}, reserved {reserved / GIB:.2f}); "
        f"{'fits' if plan.fits else 'does not fit'}; {plan.describe()}"
    )
    good = beside <= planned <= beside + MOST_ABOVE
    if ran_out:
        good, text = False, f"memory ran out {len(ran_out)} times; {text}"
    yield verdict(good, text, planned=planned, measured=beside, reserved=reserved / GIB)
