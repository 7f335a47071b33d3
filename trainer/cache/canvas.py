"""What is trained on where there are no images: an empty canvas under a prompt."""

from __future__ import annotations

from pathlib import Path

from ..config.cache import TextConfig
from ..dataset.dataset import Dataset
from ..sdxl.buckets import BucketConfig, SizeConditioning
from .latents import CachedDataset, CachedItem, LatentConfig

NO_LATENT = ""
"""The key of the latents of a canvas, which are zeros and lie nowhere."""


def canvas(prompt: str, side: int, count: int, store_root: Path) -> CachedDataset:
    """A dataset without images, of which an epoch shows the prompt ``count`` times at side x side pixels.

    The store at ``store_root`` holds encoded prompts alone, whose brackets are weights as in any prompt.

    Raises:
        ValueError: ``side`` is no multiple of 8, or out of range.
    """
    size = SizeConditioning((side, side), (0, 0), (side, side))
    item = CachedItem(
        digest="",
        name="canvas",
        caption=prompt,
        bucket=(side, side),
        conditioning=size,
        flipped_conditioning=size,
        latent_key=NO_LATENT,
        flipped_key=None,
        repeats=count,
        weight=1.0,
        is_reg=False,
        subset="",
    )
    recipe = LatentConfig(BucketConfig((side, side), enabled=False), vae_fingerprint="")
    texts = TextConfig(weighted=True)
    return CachedDataset((item,), store_root, recipe, Dataset(()), texts=texts)
