"""Selective checkpointing: every level gives the gradients of keeping everything, and attention once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ....nodes.host.model.unet import predict
from ....nodes.host.model.weights import ComfyWeights
from ....trainer.config.lora import LoraConfig
from ....trainer.device.attending import fixed_order
from ....trainer.layers.attach import Attachment, checkpoint_plan
from ....trainer.layers.compact_plan import compact_plan
from ....trainer.layers.recompute import Again, find_blocks
from ....trainer.network.network import Network
from ....trainer.network.unet_targets import find_targets
from .verdicts import Place, Row, verdict

BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Relative L2 distance of all gradients; not 0, for kernels of a card add up in any order."""
ATTENTION = "_scaled_dot_product"


class Attentions(TorchDispatchMode):
    """Counts by name the attention kernels that are really launched.

    Entered before a step: what a checkpoint gives back from its memory does not come this far out. A
    profiler counts that too, and what is computed inside of a checkpoint twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        name = func.overloadpacket.__name__
        if name.startswith(ATTENTION) and "backward" not in name:
            self.calls[name] += 1
        return func(*args, **(kwargs or {}))


def check(place: Place) -> Iterator[Row]:
    """A row for each level."""
    scene = place.scene()
    unet, inputs = scene.unet(), scene.inputs(1)
    targets = find_targets(unet, LoraConfig(rank=scene.rank, alpha=scene.alpha))
    network = Network(targets, device=scene.device)
    rng = torch.Generator(scene.device).manual_seed(0)
    with torch.no_grad():
        for adapter in network.adapters.values():
            adapter.get_parameter("up").normal_(std=0.02, generator=rng)
    plain, kept, attentions = _step(unet, network, inputs, Again.NOTHING, place)
    for level in list(Again)[1:]:
        found, bytes_kept, again = _step(unet, network, inputs, level, place)
        off = float((found - plain).norm() / plain.norm())
        expected = 2 if level is Again.ALL else 1
        times = again.total() / attentions.total() if attentions else 0.0
        fewer = bytes_kept < kept or not place.is_card
        text = (
            f"{level.name}: gradients off by {off:.1e}, attention computed {times:.1f} times in a step "
            f"({', '.join(again)}), {bytes_kept / 2**30:.2f} GiB kept where all is {kept / 2**30:.2f}"
        )
        good = off <= BOUNDS[scene.dtype] and times == expected and fewer and not _cudnn(again)
        yield verdict(good, text, error=off, kept=bytes_kept)


def _cudnn(calls: Counter[str]) -> bool:
    """Whether the kernels that a training step never uses were launched."""
    return any("cudnn" in name for name in calls)


def _step(
    unet: Any, network: Network, inputs: Any, level: Again, place: Place
) -> tuple[Tensor, int, Counter[str]]:
    """All gradients in a row, bytes kept between forward and backward, calls of attention's kernels."""
    levels = dict.fromkeys(find_blocks(unet), level)
    plan = compact_plan(unet, network, ComfyWeights(), levels)
    with Attachment([*plan, *checkpoint_plan(unet, levels, plan)]), fixed_order():
        before = torch.cuda.memory_allocated() if place.is_card else 0
        with Attentions() as attentions:
            loss = predict(unet, *inputs).float().square().mean()
            kept = torch.cuda.memory_allocated() - before if place.is_card else 0
            loss.backward()
    grads = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    for parameter in network.parameters():
        parameter.grad = None
    return torch.cat(grads), kept, attentions.calls
