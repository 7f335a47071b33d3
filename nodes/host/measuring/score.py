"""A LoRA judged by its loss on images, beside another one or the MODEL alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ....trainer import rng
from ....trainer.cache.latents import CachedDataset
from ....trainer.config.measuring import MeasureConfig
from ....trainer.files.digests import digest
from ....trainer.runs.run_list import Run
from ....trainer.validation.score import score_text
from ....trainer.validation.split import split
from ..model.host_types import Clip, ModelPatcher
from .lora_weights import check_usable
from .measuring import Measuring
from .run_settings import find_run, settings_of

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
    node_id: str | None,
) -> str:
    """The loss before and after with its spread, on the images that the LoRA's run held out, or on all.

    The run is that of the LoRA, or else of the one that it is compared with; its loss and captions count.

    Raises:
        ValueError: there are too few images, a LoRA is damaged, or as `Measuring`.
    """
    for name, lora in (("lora", asked.lora), ("compared_with", asked.compared_with)):
        if lora is not None:
            _check_lora(model, clip, name, lora)
    run = find_run(asked.lora) or find_run(asked.compared_with or {})
    config = settings_of(run)
    settings = replace(settings, loss=config.loss, captions=config.captions)
    if run is not None and config.validation.held_out and _is_its_data(cached, run):
        images, what = split(cached, config).held_out, "held-out"
        whose = f"Held out by the training {run.name}."
    else:
        items = tuple(item for item in cached.items if not (item.is_reg or item.preserves))
        images, what = replace(cached, items=items), "all images'"
        whose = (
            "This cache is not known to be that of a training which held images out: it may have been "
            "trained on some of these."
        )
    images = _fewer(images, asked.most, settings.seed)
    if len(images.items) < FEWEST:
        raise ValueError(
            f"A score compares {FEWEST} images or more, one by one, and there are {len(images.items)}. "
            "Hold more out of the training, raise images, or give a cache of images that it has not seen."
        )
    with Measuring(model, clip, images, settings, node_id, passes=2) as measured:
        before = measured.losses(asked.compared_with, asked.strength)
        after = measured.losses(asked.lora, asked.strength)
    other = "MODEL alone" if asked.compared_with is None else "compared_with"
    return f"{score_text(before, after, what)}\n{other} → lora, both on the same noise. {whose}"


def _check_lora(
    model: ModelPatcher, clip: Clip | None, name: str, lora: Mapping[str, Tensor]
) -> None:
    """Raise ValueError with the input's name for a LoRA that is damaged or does not fit."""
    try:
        check_usable(model, clip, lora)
    except ValueError as error:
        raise ValueError(f"Score LoRA: {name}: {error}") from error


def _is_its_data(cached: CachedDataset, run: Run) -> bool:
    """Whether a run was made of this cache: from another one it held out other images."""
    identity = replace(cached, text_fingerprint=None).identity()
    with_trigger = digest(identity, cached.dataset.trigger)  # as a run with preservation has it
    return run.inputs.get("data") in (identity, with_trigger)


def _fewer(cached: CachedDataset, most: int, seed: int) -> CachedDataset:
    """At most so many images, by content and seed, so that two scores are of the same ones."""
    if not most or len(cached.items) <= most:
        return cached
    order = sorted(cached.items, key=lambda item: rng.uniform(seed, "score", item.digest))
    return replace(cached, items=tuple(order[:most]))
