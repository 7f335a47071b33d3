"""The table of LoRAs at strengths, and which of them are worse than the best on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from .image_losses import Difference, compare
from .significance import ERROR, two_sided


class Measured(NamedTuple):
    """A LoRA at a strength. losses: [images, timesteps, seeds]; None where none were measured.

    scores: further columns by their headings, the same for all rows.
    """

    name: str
    strength: float
    losses: Tensor | None = None
    scores: Mapping[str, str] = {}


def table(rows: Sequence[Measured], base: Tensor | None) -> str:
    """A line for each; with the losses of the model alone, how theirs differ from it, and what that tells."""
    heads = [*(["loss, less that without a LoRA"] if base is not None else []), *rows[0].scores]
    found = [
        compare(base, row.losses) for row in rows if base is not None and row.losses is not None
    ]
    losses = [[one.told] for one in found] or [[]] * len(rows)
    lines = [["LoRA", "strength", *heads]]
    lines += [
        [row.name, f"{row.strength:g}", *loss, *row.scores.values()]
        for row, loss in zip(rows, losses, strict=True)
    ]
    said = ["", *_verdict(rows, found)] if found else []
    return "\n".join([*map(" | ".join, lines), *said])


def _verdict(rows: Sequence[Measured], found: Sequence[Difference]) -> list[str]:
    """How the losses were made, and which LoRAs the best one beats for certain."""
    images, timesteps, seeds = found[0].images, found[0].timesteps, found[0].seeds
    said = [
        f"Loss: the mean over {images} images x {timesteps} timesteps x {seeds} seeds of noise, the same for every "
        "LoRA and strength; below 0 is better than the model alone. ± holds 95 % over images."
    ]
    finite = {place: d.mean for place, d in enumerate(found) if math.isfinite(d.mean)}
    if not finite:
        return [*said, "No loss is finite: these LoRAs are damaged."]
    best = min(finite, key=lambda place: finite[place])
    if finite[best] >= 0:
        return [*said, "None is better than the model alone on these images."]
    behind = {place: _chance(rows[place], rows[best], len(rows)) for place in finite}
    like = [_called(rows[place]) for place in finite if place != best and behind[place] >= ERROR]
    said.append(f"Lowest: {_called(rows[best])}.")
    if like:
        said.append(f"Not told apart from it by these images: {'; '.join(like)}.")
    if len(like) + 1 < len(finite):
        said.append(
            f"It is better than the others, image by image (Student's t, chance below {100 * ERROR:g} % in all "
            "comparisons together)."
        )
    return said


def _chance(row: Measured, best: Measured, count: int) -> float:
    """How often images alone would put a LoRA that is as good so far behind, all pairs taken into account."""
    assert row.losses is not None and best.losses is not None
    between = compare(best.losses, row.losses)
    if not between.error:
        return 0.0 if between.mean > 0 else 1.0
    pairs = count * (count - 1) // 2
    return min(1.0, pairs * two_sided(abs(between.mean) / between.error, between.images - 1))


def _called(row: Measured) -> str:
    return f"{row.name} at {row.strength:g}"
