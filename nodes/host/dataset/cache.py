"""Building the cache with ComfyUI's VAE and CLIP."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter

from ....trainer.batches.class_captions import lasting_texts
from ....trainer.batches.embedding_captions import token_pattern
from ....trainer.cache.encoding import Encode
from ....trainer.cache.latents import CachedDataset, LatentConfig, cache_latents
from ....trainer.cache.masks import cache_masks, is_black
from ....trainer.cache.texts import cache_texts
from ....trainer.config.cache import CacheConfig
from ....trainer.config.train import TrainConfig
from ....trainer.dataset.dataset import Dataset
from ....trainer.files.store import Store
from ..cache_folder import cache_store
from ..made import CACHED
from ..model import clip as text
from ..model import deviations
from ..model import vae as images
from ..model.host_types import Clip, Vae
from ..progress import NodeProgress, check_interrupt
from .clear_cache import keep_within, needed
from .page.findings import FOUND

log = logging.getLogger(__name__)


def build_cache(
    dataset: Dataset,
    vae: Vae,
    clip: Clip | None,
    config: CacheConfig,
    node_id: str | None = None,
    limit_gb: float = 0.0,
) -> tuple[CachedDataset, str]:
    """Encode what is missing in the cache; the cached dataset and a report of its buckets.

    ``clip`` None: captions are encoded later. ``limit_gb``: the cache is then kept below so many GB; 0
    for no limit.
    """
    if clip is not None:
        text.check_clip(clip)
    images.check_vae(vae)
    if config.fresh_samples:
        deviations.check(vae)
    latents = latent_config(config, vae)
    FOUND.add_buckets(dataset, config.buckets)
    with cache_store() as store:
        cached = encode_pictures(dataset, latents, vae, store, config.batch_size, node_id)
        cached = dataclasses.replace(cached, texts=config.texts)
        if clip is not None:
            fingerprint = encode_captions(cached, clip, TrainConfig(), store, node_id)
            cached = dataclasses.replace(cached, text_fingerprint=fingerprint)
        size = keep_within(limit_gb, cached, store)
        CACHED.add(cached.identity(), needed(cached, store))
    return cached, _report(cached) + (f"\n{size}" if size else "")


def latent_config(config: CacheConfig, vae: Vae) -> LatentConfig:
    """How Cache Latents with this config makes latents with this VAE."""
    return LatentConfig(
        config.buckets,
        images.vae_fingerprint(vae),
        config.flip,
        config.kohya,
        more_buckets=tuple(map(config.buckets.at, config.more_resolutions)),
        deviations=config.fresh_samples,
    )


def encoder(config: LatentConfig, vae: Vae) -> Encode:
    """The VAE as the cache wants it, with deviations where they are asked for."""
    if config.deviations:
        return lambda pixels: deviations.encode(vae, pixels)
    return lambda pixels: images.encode_pixels(vae, pixels)


def encode_pictures(
    dataset: Dataset,
    config: LatentConfig,
    vae: Vae,
    store: Store,
    batch_size: int = 1,
    node_id: str | None = None,
) -> CachedDataset:
    """Latents of every image that has none in the store yet."""
    bar = NodeProgress(dataset.image_count, node_id)
    log.info("LoRA Loop: latents in %s", images.precision(vae))

    def on_image(done: int, total: int, name: str) -> None:
        check_interrupt()
        bar.update(dataset.image_count - total + done, f"latents {done}/{total}: {name}")

    return cache_latents(
        dataset,
        config,
        encoder(config, vae),
        store,
        batch_size=batch_size,
        on_image=on_image,
    )


def make_masks(cached: CachedDataset, store: Store, node_id: str | None) -> tuple[str | None, ...]:
    """The store's key of every image's mask, for masked loss; says how many there are.

    Raises ValueError where all of them are black.
    """
    bar = NodeProgress(len(cached.items), node_id)

    def on_mask(done: int, total: int, name: str) -> None:
        check_interrupt()
        bar.update(len(cached.items) - total + done, f"masks {done}/{total}: {name}")

    keys = cache_masks(cached, store, on_mask)
    from_files = sum(item.mask_digest is not None for item in cached.items)
    found = sum(key is not None for key in keys)
    log.info(
        "LoRA Loop: masked loss: %d mask(s) from files, %d from transparency, %d without",
        from_files, found - from_files, len(keys) - found,
    )  # fmt: skip
    if not found:
        log.warning(
            "LoRA Loop: masked is on and nothing has a mask: put masks into a folder named masks beside "
            "the images, each with its image's name, or use images with transparency."
        )
    _check_black(cached, [is_black(key, store) for key in keys])
    return keys


def _check_black(cached: CachedDataset, black: list[bool]) -> None:
    """Refuse masks that are all black, of which nothing would be learned; tell of some."""
    names = [item.name for item, is_so in zip(cached.items, black, strict=True) if is_so]
    if not names:
        return
    if len(names) == len(black):
        raise ValueError(
            f"The masks of all {len(names)} images are black, so nothing would be learned of them: a mask is "
            "white, and an image without one opaque, where it is to be learned. Invert them, or turn off masked in Noise and Loss Settings."
        )
    log.warning(
        "LoRA Loop: the masks of %d of %d images are black, so nothing is learned of them: %s",
        len(names), len(black), ", ".join(names[:3]) + (", …" if len(names) > 3 else ""),
    )  # fmt: skip


def encode_captions(
    cached: CachedDataset,
    clip: Clip,
    config: TrainConfig,
    store: Store,
    node_id: str | None = None,
    fingerprint: str | None = None,
) -> str:
    """Encode every lasting caption that is missing from the cache; returns the fingerprint of the text encoders.

    Captions that change from one use to the next are encoded while training. ``fingerprint``: where it
    is known already.
    """
    bar = NodeProgress(len(cached.items), node_id)
    if fingerprint is None:
        fingerprint = texts_fingerprint(cached, clip, config)
    trigger = cached.dataset.trigger

    def on_text(done: int, total: int) -> None:
        check_interrupt()
        bar.update(max(0, len(cached.items) - total) + done, f"captions {done}/{total}")

    cache_texts(
        (text for item in cached.items for text in lasting_texts(item, trigger, config)),
        lambda caption: text.encode_caption(clip, caption, cached.texts),
        store,
        fingerprint,
        on_text,
    )
    return fingerprint


def texts_fingerprint(cached: CachedDataset, clip: Clip, config: TrainConfig) -> str:
    """The fingerprint of the text encoders, with the textual inversions that a caption may name."""
    shown = {item.caption for item in cached.items} | {config.loss.preservation_class}
    shown |= {*config.slider.others}
    for options in {item.options or config.captions for item in cached.items}:
        shown |= {options.prefix, options.suffix}
    if config.embedding.is_on:  # a file of its name is not looked at
        own = token_pattern(config.embedding.token)
        shown = {own.sub("", text) for text in shown}
    return text.clip_fingerprint(clip, cached.texts, shown)


def _report(cached: CachedDataset) -> str:
    counts: Counter[tuple[int, int]] = Counter()
    for item in cached.items:
        counts[item.bucket] += item.repeats
    times = 1 + len(cached.recipe.more_buckets)
    head = f"{len(cached.items) // times} images"
    head += f" at {times} resolutions" if times > 1 else ""
    lines = [f"{head} in {len(counts)} bucket(s), repeats counted:"]
    lines += [f"  {w} x {h}: {count}" for (w, h), count in sorted(counts.items())]
    tiles = sum(item.in_tiles for item in cached.items)
    if tiles:
        lines.append(
            f"{tiles} did not fit into memory and were encoded in tiles: their latents differ a little from "
            "those of whole images. See the tips of Cache Latents."
        )
    if cached.text_fingerprint is None:
        lines.append("captions are encoded by Train (no CLIP is connected here)")
    return "\n".join(lines)
