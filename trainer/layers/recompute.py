"""How much of each block is computed again in backward: the levels, the blocks, the order of value.

Memory is bought with computing. What costs least for each byte goes first; attention, the dearest,
goes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Literal, NamedTuple

from torch import nn

Size = Literal["large", "small", "resnet"]


class Again(IntEnum):
    """What a block computes again. The second and third level are of compact layers."""

    NOTHING = 0
    FEED_FORWARD = 1
    """The way into the feed-forward's wide middle."""
    PROJECTIONS = 2
    """That, and queries, keys and values."""
    ALL_BUT_ATTENTION = 3
    ALL = 4


class Block(NamedTuple):
    """A part of the UNet that can be computed again. name: its module path."""

    name: str
    size: Size
    """A resnet, or a transformer block; large are those of the widest images, 64 x 64 tokens at 1024 pixels."""


Levels = Mapping[Block, Again]
"""The level of every block of a UNet."""

_ORDER: tuple[tuple[Again, tuple[Size, ...]], ...] = (
    (Again.FEED_FORWARD, ("large",)),
    (Again.PROJECTIONS, ("large",)),
    (Again.FEED_FORWARD, ("small",)),
    (Again.PROJECTIONS, ("small",)),
    (Again.ALL_BUT_ATTENTION, ("large",)),
    (Again.ALL_BUT_ATTENTION, ("small",)),
    (Again.ALL, ("resnet",)),
    (Again.ALL, ("large",)),
    (Again.ALL, ("small",)),
)
_COMPACT = (Again.FEED_FORWARD, Again.PROJECTIONS)
_WORDS = {
    Again.FEED_FORWARD: "feed-forward",
    Again.PROJECTIONS: "feed-forward and projections",
    Again.ALL_BUT_ATTENTION: "all but attention",
    Again.ALL: "all",
}


def find_blocks(unet: nn.Module) -> list[Block]:
    """Transformer blocks and resnets in the order of the forward pass."""
    transformers: dict[str, int] = {}
    found = []
    for name, module in unet.named_modules():
        if type(module).__name__ == "BasicTransformerBlock":
            block: Any = module
            transformers[name] = block.norm1.normalized_shape[0]
            found.append(name)
        elif type(module).__name__ == "ResBlock":
            found.append(name)
    widest = max(transformers.values(), default=0)
    sizes: dict[str, Size] = {
        name: "large" if width < widest else "small" for name, width in transformers.items()
    }
    return [Block(name, sizes.get(name, "resnet")) for name in found]


def ladder(blocks: Sequence[Block], *, compact: bool) -> Iterator[dict[Block, Again]]:
    """Levels from nothing again to all again, one block further at a time; all resnets at once."""
    levels = dict.fromkeys(blocks, Again.NOTHING)
    yield dict(levels)
    for level, sizes in _ORDER:
        if level in _COMPACT and not compact:
            continue
        chosen = [block for block in blocks if block.size in sizes]
        for block in chosen:
            levels[block] = level
            if block.size != "resnet":
                yield dict(levels)
        if chosen and chosen[0].size == "resnet":
            yield dict(levels)


def describe(levels: Levels) -> str:
    """`recomputed in backward: feed-forward in 10 of 10 large blocks ...`."""
    if not any(levels.values()):
        return "no block recomputed"
    if all(level is Again.ALL for level in levels.values()):
        return "all blocks recomputed in backward"
    parts = []
    for size in ("large", "small", "resnet"):
        of_size = [level for block, level in levels.items() if block.size == size]
        for level, words in _WORDS.items():
            count = of_size.count(level)
            if count:
                what = "resnets" if size == "resnet" else f"{size} transformer blocks"
                parts.append(f"{words} in {count} of {len(of_size)} {what}")
    return f"recomputed in backward: {', '.join(parts)}"
