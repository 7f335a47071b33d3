"""A LoRA's layers as pairs of thin matrices, for maths that does not care where a layer lies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..lora_files.formats import SHOWN, by_layer
from ..lora_files.names import ALPHA, BIAS, DORA, DOWN, GLORA, LOHA, LOKR, MID, OFT, UP, WHOLE
from ..lora_files.shapes import missing_parts

_PLAIN = {DOWN, UP, MID, ALPHA}
_KINDS = {
    "LoHa": LOHA, "LoKr": LOKR, "GLoRA": GLORA, "OFT or BOFT": OFT, "DoRA": (DORA,),
    "differences of whole weights, as full fine-tuning writes them": (*WHOLE, *BIAS),
}  # fmt: skip
"""What other layers are, by their parts."""


@dataclass(frozen=True)
class Factors:
    """What a layer adds to its weight: ``scale * up @ down``, the weight's axes but the first as one.

    up: [out, rank]; down: [rank, columns]; both float32.
    row: the shape of one row of the weight, [in] or [in, k, k], with ``columns`` numbers.
    """

    up: Tensor
    down: Tensor
    scale: float
    row: tuple[int, ...]

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def alpha(self) -> float:
        return self.scale * self.rank

    @property
    def is_conv(self) -> bool:
        """Whether kohya's conv_dim says its rank: a kernel larger than one pixel."""
        return math.prod(self.row[1:]) > 1

    def times(self, factor: float) -> Factors:
        """The change multiplied; the scale stays, since some programs read one alpha for all layers."""
        return replace(self, up=self.up * factor)

    def change(self) -> Tensor:
        """[out, *row], float32."""
        return (self.scale * (self.up @ self.down)).reshape(-1, *self.row)

    def energy(self) -> float:
        """The sum of the squared numbers of the change, without computing it."""
        up, down = self.up.double(), self.down.double()
        return self.scale**2 * float(((up.T @ up) * (down @ down.T)).sum())

    def parts(self) -> dict[str, Tensor]:
        """As kohya writes it."""
        ones = [1] * (len(self.row) - 1)
        return {
            DOWN: self.down.reshape(-1, *self.row).contiguous(),
            UP: self.up.reshape(*self.up.shape, *ones).contiguous(),
            ALPHA: torch.tensor(self.alpha),
        }


def is_plain(lora: Mapping[str, Tensor]) -> bool:
    """Whether every layer is a product of factors: no LoHa, LoKr, DoRA or whole weight."""
    return all(parts.keys() <= _PLAIN for parts in by_layer(lora).values())


def read_factors(lora: Mapping[str, Tensor]) -> dict[str, Factors]:
    """The layers of a LoRA of kohya's keys, by stem. One with a core (LyCORIS' Tucker) is written out.

    Raises:
        ValueError: a layer is of another kind (LoHa, LoKr, OFT, DoRA, a difference ...), not whole, or not finite.
    """
    layers = by_layer(lora)
    _check(layers)
    found = {stem: _factors(parts) for stem, parts in sorted(layers.items()) if UP in parts}
    for stem, layer in found.items():
        check_finite(stem, layer.parts().values())
    return found


def check_finite(stem: str, parts: Iterable[Tensor]) -> None:
    """Raises ValueError where a part of the layer ``stem`` holds an infinity or no number."""
    if not all(torch.isfinite(part.float()).all() for part in parts):
        raise ValueError(
            f"{stem} holds numbers that are not finite: its training went wrong, or the file is "
            "damaged. Take an earlier checkpoint or another copy."
        )


def check_whole(stem: str, parts: Mapping[str, Tensor]) -> None:
    """Raises ValueError where the layer ``stem`` lacks a part that the others need."""
    absent = missing_parts(parts)
    if absent:
        raise ValueError(
            f"The LoRA is not whole: {stem} has no {', '.join(absent)}. Its file is damaged: take "
            "another copy."
        )


def as_tensors(layers: Mapping[str, Factors]) -> dict[str, Tensor]:
    """Kohya's keys and tensors, float32."""
    return {
        f"{stem}.{part}": tensor
        for stem, layer in sorted(layers.items())
        for part, tensor in layer.parts().items()
    }


def _check(layers: Mapping[str, Mapping[str, Tensor]]) -> None:
    odd = {stem: sorted(parts.keys() - _PLAIN) for stem, parts in layers.items()}
    odd = {stem: parts for stem, parts in odd.items() if parts}
    if odd:
        first, parts = min(odd), {part for parts in odd.values() for part in parts}
        kinds = [kind for kind, own in _KINDS.items() if parts & {*own}] or ["something else"]
        raise ValueError(
            f"{len(odd)} of {len(layers)} layers are no plain LoRA but {' and '.join(kinds)}, e.g. {first} with "
            f"{', '.join(odd[first][:SHOWN])}: they are no product of two factors, so nothing exact can be "
            "made of them here. Take a plain LoRA, or Extract LoRA, which makes a LoRA of a rank of a MODEL "
            "without this and the same MODEL with it."
        )
    for stem, parts in sorted(layers.items()):
        check_whole(stem, parts)
    if not any(UP in parts for parts in layers.values()):
        raise ValueError("The LoRA has no layer with factors, so it changes nothing.")


def _factors(parts: Mapping[str, Tensor]) -> Factors:
    up, down = parts[UP].float(), parts[DOWN].float()
    rank = down.shape[0]
    scale = float(parts[ALPHA]) / rank if ALPHA in parts else 1.0
    if MID in parts:  # [up's rank, down's rank, k, k], between the factors
        down = torch.einsum("ij...,jr->ir...", parts[MID].float(), down.flatten(1))
    up = up.flatten(1)
    if up.shape[1] != down.shape[0]:
        raise ValueError(
            f"Factors of ranks {up.shape[1]} and {down.shape[0]} fit nothing: the file is damaged, take "
            "another copy."
        )
    return Factors(up, down.flatten(1), scale, tuple(down.shape[1:]))
