"""A cached dataset of synthetic latents and captions in a store, as Cache Latents leaves it."""

from pathlib import Path

import torch

from pack.tests.trainer.tiny_unet import CONTEXT, POOLED
from pack.trainer.cache.encoding import KIND
from pack.trainer.cache.latents import CachedDataset, CachedItem, LatentConfig
from pack.trainer.cache.texts import cache_texts
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.files.store import Store
from pack.trainer.sdxl.buckets import BucketConfig, SizeConditioning

FINGERPRINT = "clip"


def make_item(number: int, bucket=(64, 64), *, flip=False, repeats=1, weight=1.0) -> CachedItem:
    """An image with keys, caption and conditioning of its own."""
    height, width = bucket[1], bucket[0]
    return CachedItem(
        digest=f"{number}",
        name=f"data/{number}.png",
        caption=f"caption {number}",
        bucket=bucket,
        conditioning=SizeConditioning((100 + number, 200), (number, 2), (height, width)),
        flipped_conditioning=SizeConditioning((100 + number, 200), (number, 9), (height, width)),
        latent_key=f"00{number}",
        flipped_key=f"11{number}" if flip else None,
        repeats=repeats,
        weight=weight,
        is_reg=False,
        subset="data",
    )


def make_latents(number: int, bucket, *, flipped: bool = False) -> torch.Tensor:
    """Unscaled latents of an image; those of the flipped one are numbers of their own."""
    rng = torch.Generator().manual_seed(number + 1000 * flipped)
    return 7 * torch.randn(4, bucket[1] // 8, bucket[0] // 8, generator=rng)


def encode(caption: str, tokens: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """A text encoder: context [tokens, CONTEXT] and pooled [POOLED] that depend on the caption."""
    rng = torch.Generator().manual_seed(sum(caption.encode()))
    return (
        torch.randn(tokens, CONTEXT, generator=rng),
        torch.randn(POOLED, generator=rng),
    )


def make_cache(root: Path, *items: CachedItem, encode=encode) -> CachedDataset:
    """The items with their latents and captions on disk; five plain ones when none are given."""
    items = items or tuple(make_item(number) for number in range(5))
    store = Store(root)
    for number, item in enumerate(items):
        store.save(KIND, item.latent_key, {"latents": make_latents(number, item.bucket)})
        if item.flipped_key:
            latents = make_latents(number, item.bucket, flipped=True)
            store.save(KIND, item.flipped_key, {"latents": latents})
    cache_texts([item.caption for item in items], encode, store, FINGERPRINT)
    recipe = LatentConfig(BucketConfig(), "vae", flip=any(item.flipped_key for item in items))
    return CachedDataset(items, root, recipe, Dataset(()), FINGERPRINT)
