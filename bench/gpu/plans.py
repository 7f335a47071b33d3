"""What the two GPU commands run, the most important first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GRAPHS = {"cuda_graphs": True}
TRITON = {"triton_kernels": True}
FASTEST = {"checkpointing": "off", "speed": GRAPHS | TRITON}


@dataclass(frozen=True)
class Run:
    """One way of training in a process of its own.

    peer: a module of peers; settings: its arguments. seconds: a guess at what it takes.
    cap: GiB that PyTorch may use, 0: all.
    """

    name: str
    peer: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 45.0
    cap: float = 0.0
    dynamic_vram: bool = False


def _ours(name: str, seconds: float = 40.0, **settings: Any) -> Run:
    return Run(name, "ours", {"compact": True, **settings}, seconds=seconds)


SPEED = (
    _ours("ours", checkpointing="off"),
    _ours("ours, Triton and graphs", **FASTEST),
    Run("kohya", "kohya"),
    Run("kohya, checkpointed", "kohya", {"checkpointing": True}),
    Run("naive", "naive"),
    Run("ComfyUI's node", "native", batches=(1, 2, 4), seconds=60.0),
    Run("diffusers and peft", "diffusers"),
    _ours("ours, Triton", checkpointing="off", speed=TRITON),
    _ours("ours, graphs", checkpointing="off", speed=GRAPHS),
    Run("naive, checkpointed", "naive", {"checkpointing": True}),
    Run("diffusers and peft, checkpointed", "diffusers", {"checkpointing": True}),
    Run("ComfyUI's node, bypass", "native", {"bypass_mode": True}, (1, 2), 45.0),
    Run("diffusers and peft, compiled", "diffusers", {"compiled": True}, (1, 4), 120.0),
)
"""How fast; a later round takes batches 1 and 4 alone."""


def _small(name: str, cap: float, **settings: Any) -> Run:
    """On a card of which PyTorch gets ``cap`` GiB, with ComfyUI's memory manager."""
    settings = {"compact": True, "managed": True, **settings}
    return Run(name, "ours", settings, (1,), 40.0, cap)


MEMORY = (
    _small("nothing recomputed", 0.0, checkpointing="off"),
    _small("everything recomputed", 0.0, checkpointing="full"),
    _small("8 GB card", 7.3),
    _small("4 GB card, streamed", 4.0, speed={"stream_weights": True}),
    Run("inside ComfyUI, dynamic VRAM", "ours", {"compact": True, "managed": True}, (1,), 45.0, 0.0, True),
    _small("6 GB card, streamed", 5.5, speed={"stream_weights": True}),
    _small("int8 weights", 0.0, checkpointing="off", speed={"frozen_weights": "int8"}),
    _small("fp8 weights", 0.0, checkpointing="off", speed={"frozen_weights": "fp8"}),
    _small("int8 weights, 6 GB card", 5.5, speed={"frozen_weights": "int8"}),
    _small("12 GB card", 11.0),
    Run("8 GB card, dynamic VRAM", "ours", {"compact": True, "managed": True}, (1,), 45.0, 7.3, True),
    Run("naive", "naive", {}, (1,)),
    Run("kohya, checkpointed", "kohya", {"checkpointing": True}, (1,)),
    Run("ComfyUI's node", "native", {}, (1,), 60.0),
)  # fmt: skip
"""How much memory; one round."""
