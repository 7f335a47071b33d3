"""A LoRA judged by its loss on images, beside another one or the MODEL alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ....trainer import rng
from ....trainer.cache.latents import CachedDataset
from ....trainer.config.measuring import MeasureConfig
from ....trainer.config.train import TrainConfig
from ....trainer.config.validation import ValidationConfig
from ....trainer.validation.score import score_text
from ....trainer.validation.split import split
from ..model.host_types import Clip, ModelPatcher
from .measuring import Measuring

FEWEST = 2
"""Images: of one alone nothing says how far another would be from it."""


@dataclass(frozen=True)
class Asked:
    """What Score LoRA is to find out: both LoRAs at ``strength``; None: the MODEL alone."""

    lora: Mapping[str, Tensor]
    compared_with: Mapping[str, Tensor] | None
    strength: float
    most: int
    """Of so many images; 0: all."""


def score(
    model: ModelPatcher,
    clip: Clip | None,
    cached: CachedDataset,
    asked: Asked,
    settings: MeasureConfig,
    validation: ValidationConfig | None,
    node_id: str | None,
) -> str:
    """The loss before and after with its spread, on the images that ``validation`` holds out, or on all.

    Raises:
        ValueError: there are too few images, or as `Measuring`.
    """
    images, what = _images(cached, settings, validation)
    images = _fewer(images, asked.most, settings.seed)
    if len(images.items) < FEWEST:
        raise ValueError(
            f"There are {len(images.items)} {what} images, and a score needs {FEWEST} or more, which it "
            "compares one by one. Hold more out in Validation Settings, or connect none."
        )
    with Measuring(model, clip, images, settings, node_id, passes=2) as measured:
        before = measured.losses(asked.compared_with, asked.strength)
        after = measured.losses(asked.lora, asked.strength)
    other = "MODEL alone" if asked.compared_with is None else "compared_with"
    lines = [score_text(before, after, what), f"{other} → lora, both on the same noise."]
    if validation is None or not validation.held_out:
        lines.append(
            "All images, those that the LoRA was trained on too: connect validation_settings."
        )
    return "\n".join(lines)


def _images(
    cached: CachedDataset, settings: MeasureConfig, validation: ValidationConfig | None
) -> tuple[CachedDataset, str]:
    if validation is not None and validation.held_out:
        parts = split(cached, TrainConfig(captions=settings.captions, validation=validation))
        return parts.held_out, "held-out"
    items = tuple(item for item in cached.items if not (item.is_reg or item.preserves))
    return replace(cached, items=items), "all"


def _fewer(cached: CachedDataset, most: int, seed: int) -> CachedDataset:
    """At most so many images, by content and seed, so that two scores are of the same ones."""
    if not most or len(cached.items) <= most:
        return cached
    order = sorted(cached.items, key=lambda item: rng.uniform(seed, "score", item.digest))
    return replace(cached, items=tuple(order[:most]))
