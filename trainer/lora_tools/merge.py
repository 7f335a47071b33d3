"""Several LoRAs as one that adds the sum of their changes, exactly.

The factors of a layer are put side by side, so that the rank of the result is the sum of ranks. Adding
the factors themselves would add products across the LoRAs that none of them has (docs/kohya.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from .factors import Factors

Weighed = tuple[Mapping[str, Factors], float]
"""The layers of a LoRA by stem, and its strength."""

_ROUNDING = 1e-12
"""Of squared numbers: a millionth of the numbers themselves."""


def merge(loras: Sequence[Weighed]) -> dict[str, Factors]:
    """The layers of the sum, by stem: ranks may differ, and a layer may be in some of them only.

    Raises:
        ValueError: all strengths are 0, one is no number, or a layer has two shapes.
    """
    if not all(math.isfinite(strength) for _, strength in loras):
        raise ValueError("A strength is not finite: give a number.")
    used = [(layers, strength) for layers, strength in loras if strength]
    if not used:
        raise ValueError("All strengths are 0, so that nothing is left to merge: raise one.")
    stems = dict.fromkeys(stem for layers, _ in used for stem in layers)
    return {
        stem: _side_by_side(stem, [(layers[stem], s) for layers, s in used if stem in layers])
        for stem in stems
    }


def is_nothing(loras: Sequence[Weighed], made: Mapping[str, Factors]) -> bool:
    """Whether the changes cancel each other out, up to the rounding of float32."""
    parts = sum(s**2 * layer.energy() for layers, s in loras if s for layer in layers.values())
    return sum(layer.energy() for layer in made.values()) <= _ROUNDING * parts


def _side_by_side(stem: str, found: Sequence[tuple[Factors, float]]) -> Factors:
    (first, strength), *others = found
    if not others:
        return first if strength == 1 else first.times(strength)
    shapes = {(layer.up.shape[0], layer.down.shape[1]) for layer, _ in found}
    if len(shapes) > 1:
        said = " and ".join(f"{rows} x {columns}" for rows, columns in sorted(shapes))
        raise ValueError(
            f"{stem} changes a weight of {said}: these LoRAs are for different models. Merge LoRAs of "
            "one kind of model."
        )
    ups = [layer.up * (layer.scale * strength) for layer, strength in found]
    return Factors(torch.cat(ups, 1), torch.cat([layer.down for layer, _ in found]), 1.0, first.row)
