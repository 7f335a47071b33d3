"""Masks: how much each part of an image counts in the loss. Made from files, kept beside the latents.

An image's mask is its mask file, white to learn and black not; without one, its own opacity;
without either, there is none and all counts. Source: kohya's masked_loss and alpha_mask.
"""

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...base.read_ahead import in_order, thread_count
from ..dataset.dataset import Interpolation, Sample
from ..dataset.given_masks import has_shape
from ..dataset.images import load_alpha, load_rgb, resize_and_crop
from ..dataset.unchanged import read_unchanged
from ..files.digests import digest
from ..files.store import Store
from ..sdxl.buckets import Placement, Size
from ..sdxl.constants import LATENT_PIXELS
from .latents import CachedDataset, CachedItem, as_stored, cached_item, interpolation
from .placing import placed

KIND = "masks"
"""The store's kind for masks: a tensor ``mask`` [h, w] of the latents' size, float32 in 0..1, or empty."""

RECIPE = 2
"""Raised when the way from file to mask changes, so that older ones are not used."""

_MAX_THREADS = 4

OnMask = Callable[[int, int, str], None]
"""Told (masks made, masks to make, image's name) after each."""


class _Job(NamedTuple):
    """A mask that is missing from the store."""

    key: str
    sample: Sample
    size: Size
    placement: Placement
    interpolation: Interpolation | None
    kohya: bool


def cache_masks(
    cached: CachedDataset, store: Store, on_mask: OnMask | None = None
) -> tuple[str | None, ...]:
    """The store's key for the mask of each of ``cached.items``, None where all of the image counts.

    What is missing from the store is made from the files; nothing else is opened.

    Raises:
        ValueError: a file changed, vanished or cannot be decoded, or a mask has another shape than its image.
    """
    recipe, jobs = cached.recipe, []
    keys = [_key(item) for item in cached.items]  # some of the dataset's images, in any order
    missing = {key for key in keys if not store.has(KIND, key)}
    for subset, sample, size, placement in placed(
        cached.dataset, recipe.buckets, recipe.more_buckets, recipe.kohya
    ):
        item = cached_item(subset, sample, placement, size, recipe)
        key = _key(as_stored(item, store)[0])
        if key in missing:
            missing.remove(key)
            how = interpolation(subset, recipe)
            jobs.append(_Job(key, sample, size, placement, how, recipe.kohya))
    _make(jobs, store, on_mask)
    return tuple(key if _is_used(key, store) else None for key in keys)


def is_black(key: str | None, store: Store) -> bool:
    """Whether a mask by its key leaves nothing of the image to learn."""
    stored = None if key is None else store.load(KIND, key)
    return stored is not None and not bool(stored["mask"].any())


def _key(item: CachedItem) -> str:
    return digest(RECIPE, item.latent_key, item.mask_digest)


def _make(jobs: list[_Job], store: Store, on_mask: OnMask | None) -> None:
    threads = thread_count(_MAX_THREADS)
    with closing(in_order(_mask, jobs, name="lora-loop-masks", threads=threads)) as masks:
        for done, (job, mask) in enumerate(zip(jobs, masks, strict=True), 1):
            store.save(KIND, job.key, {"mask": torch.empty(0) if mask is None else mask})
            if on_mask is not None:
                on_mask(done, len(jobs), job.sample.path.name)


def _is_used(key: str, store: Store) -> bool:
    stored = store.load(KIND, key)
    return stored is not None and stored["mask"].numel() > 0


def _mask(job: _Job) -> Tensor | None:
    """The mask of one image through the image's own resize and crop, [h, w] float32."""
    grey = _grey(job)
    if grey is None:
        return None
    pixels = resize_and_crop(grey, job.placement, job.interpolation)
    width, height = job.placement.bucket
    mask = torch.tensor(pixels).float() / 255.0
    latent = (height // LATENT_PIXELS, width // LATENT_PIXELS)
    return F.interpolate(mask[None, None], size=latent, mode="area")[0, 0]


def _grey(job: _Job) -> np.ndarray | None:
    """The mask at the size of its file, uint8 [H, W]."""
    sample = job.sample
    if sample.mask is None:
        data = read_unchanged(sample.path, sample.digest)
        return load_alpha(sample.path, data, kohya=job.kohya)
    data = read_unchanged(sample.mask, sample.mask_digest)
    grey = None if job.kohya else load_alpha(sample.mask, data)  # a cut-out serves as a mask too
    if grey is None:
        grey = load_rgb(sample.mask, kohya=job.kohya, data=data)[:, :, 0]
    (height, width), (wide, high) = grey.shape, job.size
    if not has_shape((width, height), job.size):
        raise ValueError(
            f"The mask {sample.mask} is {width} x {height} pixels and its image {wide} x {high}: give "
            "it the image's shape (its size may differ)."
        )
    return grey
