"""The checks of a first run on a card: what would stop one comes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """A module of this package in a process of its own.

    seconds: a guess at what it takes on an H200, below which it is not begun; most: after which it is
    ended. cap: GiB of the card that is pretended, 0: all of it.
    """

    name: str
    module: str
    seconds: float
    most: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    cap: float = 0.0
    dynamic_vram: bool = False
    in_small: bool = True
    """Off where on a CPU it is another one over again."""


DYNAMIC = {"dynamic_vram": True}
CHECKS = (
    Check("attention backends", "attention", 25, 60),
    Check("selective checkpointing", "levels", 25, 60),
    Check("gpu tier", "tier", 60, 120),
    Check("gpu tier, dynamic VRAM", "tier", 50, 100, DYNAMIC, in_small=False),
    Check("dynamic VRAM, 8 GB, an early large image", "paging", 45, 100, DYNAMIC, 7.3, True),
    Check("plan, 24 GB card", "planned", 22, 50, cap=23.0, in_small=False),
    Check("plan, 12 GB card", "planned", 22, 50, cap=11.0, in_small=False),
    Check("plan, 8 GB card", "planned", 22, 60, cap=7.3),
    Check("weights from RAM, 6 GB card", "streaming", 45, 90, cap=5.5),
    Check(
        "weights from RAM, 6 GB card, dynamic VRAM", "streaming", 30, 70, DYNAMIC, 5.5, True, False
    ),
    Check("CUDA graphs and Triton", "graphs", 50, 110),
    Check("resumed runs", "resuming", 35, 70),
    Check("latents in 16 bits", "latents", 15, 40),
)

SPEED = ("ours", "kohya", "kohya, checkpointed", "naive")
"""Names of runs of the speed plan that the rest of the time goes to, with batch 1 and 4."""

NEEDED = {
    "CUDA graphs": "out when they save less than 5 % of a step's time at batch 1 and at batch 4",
    "Triton": "out when the kernels save nothing at batch 1 and at batch 4",
    "stream_weights": "out when it is not faster than ComfyUI's own way on the same card, with dynamic "
    "VRAM and without",
}
"""The figure that decides about each path whose verdict waits."""
