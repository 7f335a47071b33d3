"""What the tools say of a LoRA, in numbers that are counted or computed, never estimated."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from ..lora_files.formats import by_layer
from ..lora_files.names import DOWN
from .factors import is_plain, read_factors
from .resize import Kept, relative_error
from .scale_blocks import BLOCKS, OUTSIDE, block_name

FP16_BYTES = 2
EXACT = "singular values in 64 bits; no draw, so no spread"
"""How the error of Resize LoRA is computed."""


def size_text(lora: Mapping[str, Tensor]) -> str:
    """`rank 4 to 32 (mean 11.2), 722 layers, 38.1 MB`: MB are millions of bytes of weights at fp16."""
    ranks = [parts[DOWN].shape[0] for parts in by_layer(lora).values() if DOWN in parts]
    count = len(by_layer(lora))
    size = sum(tensor.numel() for tensor in lora.values()) * FP16_BYTES / 1e6
    return f"{_ranks(ranks)}, {count} layers, {size:.1f} MB"


def _ranks(ranks: Sequence[int]) -> str:
    if not ranks:
        return "no rank"
    if min(ranks) == max(ranks):
        return f"rank {ranks[0]}"
    return f"rank {min(ranks)} to {max(ranks)} (mean {sum(ranks) / len(ranks):.1f})"


def error_text(kept: Mapping[str, Kept], how: str) -> str:
    """How far the change of the weights is from what it was, over all layers and in the worst of them."""
    lost = sum(one.lost for one in kept.values())
    whole = sum(one.energy for one in kept.values())
    if not whole:
        return "The LoRA changes nothing: in every layer its factors come to 0."
    errors = {stem: relative_error(one.lost, one.energy) for stem, one in kept.items()}
    worst = max(errors, key=lambda stem: errors[stem])
    return (
        f"The change of the weights is {100 * relative_error(lost, whole):.2f} % off (Frobenius norm over all "
        f"layers; {how}), most in {worst}: {100 * errors[worst]:.2f} %."
    )


def block_table(lora: Mapping[str, Tensor], factors: Mapping[str, float]) -> str:
    """A line for each block that the LoRA has: layers, its share of the squared change, its factor.

    Without shares where a layer is no plain LoRA. Last the factors of blocks that it does not have.
    """
    stems = by_layer(lora)
    energies = (
        {stem: layer.energy() for stem, layer in read_factors(lora).items()}
        if is_plain(lora)
        else {}
    )
    whole = sum(energies.values()) or 1.0
    lines = []
    for name in (*BLOCKS, OUTSIDE):
        own = [stem for stem in stems if block_name(stem) == name]
        if own:
            share = 100 * sum(energies.get(stem, 0.0) for stem in own) / whole
            shown = f"  {share:5.1f} %" if energies else ""
            lines.append(f"{name}: {len(own)} layers{shown}  x {factors.get(name, 1.0):g}")
    lines += _without_effect(factors, {block_name(stem) for stem in stems})
    head = (
        "block: layers, share of the squared change before, factor"
        if energies
        else "block: layers, factor"
    )
    return "\n".join([head, *lines])


def _without_effect(factors: Mapping[str, float], there: Collection[str]) -> list[str]:
    """Nothing where all blocks are named: those that are there are meant then."""
    found = [f"{name}={factor:g}" for name, factor in factors.items() if factor != 1]
    found = [one for one in found if one.partition("=")[0] not in there]
    if not found or factors.keys() >= {*BLOCKS}:
        return []
    return [f"without effect, for the LoRA has no layer there: {', '.join(found)}"]
