"""Which images are held out of training to validate on: chosen by content, the same for every run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from .. import rng
from ..cache.latents import CachedDataset, CachedItem
from ..config.captions import CaptionConfig
from ..config.train import TrainConfig
from ..dataset.dataset import Subset


class Parts(NamedTuple):
    """A cached dataset in two: what is trained on, and what is only measured; and all that is needed."""

    training: CachedDataset
    held_out: CachedDataset
    both: CachedDataset


def split(cached: CachedDataset, config: TrainConfig) -> Parts:
    """Take the held-out images out of a dataset.

    Chosen by content digest and seed among the training images, never among those for
    regularisation or preservation; copies of an image go together. The captions of held-out images
    become what they are without shuffling and dropout, alternatives drawn once.

    Raises:
        ValueError: no training image would be left.
    """
    validation = config.validation
    if not validation.held_out:
        return Parts(cached, replace(cached, items=()), cached)
    digests = {item.digest for item in cached.items if _teaches(item)}
    count = _count(validation.held_out, len(digests))
    if count >= len(digests):
        raise ValueError(
            f"Validation settings: {count} images are to be held out and there are {len(digests)} "
            "to train on, so none would be left. Lower held_out, or set it to 0."
        )
    order = sorted(digests, key=lambda name: rng.uniform(validation.seed, "held out", name))
    chosen = frozenset(order[:count])
    measured = frozenset(order[: min(count, validation.max_pictures or count)])
    items = tuple(
        as_measured(item, config)
        for item in cached.items
        if _teaches(item) and item.digest in measured
    )
    training = _without(cached, chosen)
    both = replace(cached, items=(*training.items, *items))
    return Parts(training, replace(cached, items=items), both)


def _count(held_out: float, pictures: int) -> int:
    """How many of the images; a share is at least one of them."""
    return int(held_out) if held_out >= 1 else max(1, int(held_out * pictures + 0.5))


def _teaches(part: CachedItem | Subset) -> bool:
    """Whether the model shall learn what it shows, rather than go on as before."""
    return not (part.is_reg or part.preserves)


def _without(cached: CachedDataset, digests: Collection[str]) -> CachedDataset:
    """The dataset without these images to learn from, also in what is known of its folders."""

    def kept(subset: Subset) -> Subset:
        samples = tuple(s for s in subset.samples if s.digest not in digests)
        return replace(subset, samples=samples) if _teaches(subset) else subset

    subsets = tuple(kept(subset) for subset in cached.dataset.subsets)
    return replace(
        cached,
        items=tuple(i for i in cached.items if not (_teaches(i) and i.digest in digests)),
        dataset=replace(cached.dataset, subsets=tuple(s for s in subsets if s.samples)),
    )


def as_measured(item: CachedItem, config: TrainConfig) -> CachedItem:
    """The image with its caption as it is measured: without shuffling and dropout, alternatives drawn once."""
    options = replace(
        item.options or config.captions,
        shuffle=False,
        tag_dropout=0.0,
        frequent_dropout=0.0,
        dropout=0.0,
        dropout_every_n_epochs=0,
        token_warmup_steps=0.0,
    )
    draws = rng.python_random(config.validation.seed, "held out caption", item.digest)
    whole = replace(item, optional_tags=(), optional_rate=0.0)
    text = whole.sample_text(options, draws, 1, 0, 1)
    return replace(whole, caption=text, options=CaptionConfig())
