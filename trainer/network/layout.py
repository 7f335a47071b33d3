"""Where factors lie: those that are read together follow each other in one piece of memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..device.neighbours import whole_buffer
from .adapters import Adapter, Full, Lora
from .unet_targets import Target

_BLOCK = re.compile(r"(.*transformer_blocks\.\d+)\.(.+)")
_INSIDE = (
    "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0",
    "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0",
    "ff.net.0.proj", "ff.net.2",
)  # fmt: skip
"""The layers of a transformer block in the order of its forward."""
_OF_CONTEXT = ("attn2.to_k", "attn2.to_v")


Place = tuple[Adapter, str]
"""A factor: the adapter, and its attribute's name."""


def lay_out(targets: Sequence[Target], adapters: Mapping[str, Adapter]) -> None:
    """Put the factors of plain LoRAs, which hold no numbers yet, into one buffer, in the order of trainer/layers/factors.py.

    Those of full fine-tuning too, one after the other: no optimiser has to copy them then.
    """
    if places := _in_order(targets, adapters):
        factors = [getattr(*place) for place in places]
        _bind(places, factors[0].new_empty(sum(factor.numel() for factor in factors)))


def move(targets: Sequence[Target], adapters: Mapping[str, Adapter], device: torch.device) -> None:
    """Bring what was laid out to a device, as the one buffer that it is; the parameters are new ones."""
    places = _in_order(targets, adapters)
    if places and (buffer := whole_buffer([getattr(*place) for place in places])) is not None:
        _bind(places, buffer.to(device))


def _bind(places: Sequence[Place], buffer: Tensor) -> None:
    """Let the factors be views of a buffer, one after the other."""
    parts = buffer.split([getattr(*place).numel() for place in places])
    for (adapter, name), part in zip(places, parts, strict=True):
        setattr(adapter, name, nn.Parameter(part.view_as(getattr(adapter, name))))


def _in_order(targets: Sequence[Target], adapters: Mapping[str, Adapter]) -> list[Place]:
    """Block by block the up factors, then the down factors; then layers outside of blocks; last the
    down factors of the context."""
    found: list[tuple[tuple[int, ...], Place]] = []
    blocks: dict[str, int] = {}
    for number, target in enumerate(targets):
        adapter = adapters[target.key]
        if isinstance(adapter, Full):
            found += [
                ((1, number, place), (adapter, name))
                for place, name in enumerate(adapter.factors())
            ]
            continue
        if type(adapter) is not Lora:
            continue
        match = _BLOCK.fullmatch(target.path)
        if match is None or match[2] not in _INSIDE:
            up, down = (1, number, 0), (1, number, 1)
        else:
            block, place = blocks.setdefault(match[1], len(blocks)), _INSIDE.index(match[2])
            up, down = (0, block, 0, place), (0, block, 1, place)
            if match[2] in _OF_CONTEXT:
                down = (2, block, place)
        found += [(up, (adapter, "up")), (down, (adapter, "down"))]
    return [place for _, place in sorted(found, key=lambda pair: pair[0])]
