"""kohya's metadata of the images: folders, tags, buckets, and how captions are shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

import numpy as np

from ..batches.plan import showings
from ..cache.latents import CachedDataset
from ..config.cache import TextConfig
from ..config.captions import CaptionConfig
from ..config.train import TrainConfig
from ..config.validation import ValidationConfig
from ..dataset.dataset import Subset
from ..sdxl.buckets import BucketConfig, Size


def data_keys(cached: CachedDataset, config: TrainConfig) -> dict[str, object]:
    """`ss_*` key -> value, of the dataset and its cache.

    The keys of a run on one folder tree, and beside them ``ss_datasets``, as kohya writes it for a
    configuration of several datasets, where subsets have options of their own or the images come at
    several resolutions.
    """
    dataset = cached.dataset
    found = {
        "ss_num_train_images": _showings(dataset.subsets, False),
        "ss_num_reg_images": _showings(dataset.subsets, True),
        **_validation_keys(config.validation),
        "ss_prior_loss_weight": _prior_loss_weight(cached),
        "ss_batch_size_per_device": config.batch_size,
        "ss_total_batch_size": config.batch_size * config.accumulation,
        "ss_dataset_dirs": json.dumps(_folders(dataset.subsets, False)),
        "ss_reg_dataset_dirs": json.dumps(_folders(dataset.subsets, True)),
        "ss_tag_frequency": json.dumps(dataset.tag_frequency(), ensure_ascii=False),
        **_picture_keys(cached),
        **_caption_keys(config.captions),
        "ss_max_token_length": _max_token_length(cached.texts),
    }
    if _has_own_options(cached):
        found["ss_datasets"] = json.dumps(_datasets(cached, config), ensure_ascii=False)
    return found


def _validation_keys(validation: ValidationConfig) -> dict[str, object]:
    """kohya's words for what is held out. Where a share is, how many images that is stays open."""
    held_out = validation.held_out if validation.is_on else 0.0
    is_share = 0 < held_out < 1
    return {
        **({} if is_share else {"ss_num_validation_images": int(held_out)}),
        "ss_validation_seed": validation.seed if held_out else None,
        "ss_validation_split": held_out if is_share else 0.0,
        "ss_max_validation_steps": (validation.max_pictures or None) if held_out else None,
        "ss_validate_every_n_epochs": (validation.every_epochs or None) if held_out else None,
        "ss_validate_every_n_steps": (validation.every or None) if held_out else None,
    }


def _showings(subsets: Iterable[Subset], is_reg: bool) -> int:
    return sum(len(s.samples) * s.repeats for s in subsets if s.is_reg == is_reg)


def _folders(subsets: Iterable[Subset], is_reg: bool) -> dict[str, dict[str, int]]:
    """Repeats and images by folder; folders of one name are counted together."""
    found: dict[str, dict[str, int]] = {}
    for subset in subsets:
        if subset.is_reg == is_reg:
            known = found.setdefault(subset.name, {"n_repeats": 0, "img_count": 0})
            known["n_repeats"] = max(subset.repeats, known["n_repeats"])
            known["img_count"] += len(subset.samples)
    return found


def _prior_loss_weight(cached: CachedDataset) -> float:
    """The one loss weight of all regularisation images; 1 where there is none or no single one."""
    weights = {item.weight for item in cached.items if item.is_reg}
    return float(weights.pop()) if len(weights) == 1 else 1.0


def _picture_keys(cached: CachedDataset) -> dict[str, object]:
    """How images become latents. What kohya can do beside that, this trainer does not do."""
    buckets, recipe = cached.recipe.buckets, cached.recipe
    return {
        "ss_resolution": buckets.resolution,
        "ss_enable_bucket": buckets.enabled,
        "ss_bucket_no_upscale": buckets.no_upscale,
        "ss_min_bucket_reso": buckets.lowest if buckets.enabled else None,
        "ss_max_bucket_reso": buckets.highest if buckets.enabled else None,
        "ss_bucket_info": json.dumps(_bucket_info(cached)),
        "ss_cache_latents": True,
        "ss_flip_aug": recipe.flip,
        "ss_resize_interpolation": recipe.interpolation,
        "ss_color_aug": False,
        "ss_random_crop": False,
        "ss_face_crop_aug_range": None,
    }


def _bucket_info(cached: CachedDataset) -> dict[str, object] | None:
    """Images shown in the first epoch by bucket, and how far their shapes are from their buckets'."""
    if not cached.recipe.buckets.enabled:
        return None
    shown = showings(cached, 0)
    counts: Counter[Size] = Counter()
    for group, pictures in shown.items():
        counts[group.bucket] += len(pictures)
    buckets = {
        str(index): {"resolution": list(bucket), "count": count}
        for index, (bucket, count) in enumerate(counts.items())
    }
    errors = []
    for index in sorted({index for pictures in shown.values() for index, _ in pictures}):
        item = cached.items[index]
        height, width = item.conditioning.original_hw
        errors.append(item.bucket[0] / item.bucket[1] - width / height)
    return {"buckets": buckets, "mean_img_ar_error": float(np.mean(np.abs(errors)))}


def _caption_keys(captions: CaptionConfig) -> dict[str, object]:
    return {
        "ss_shuffle_caption": captions.shuffle,
        "ss_keep_tokens": captions.keep_tokens,
        "ss_caption_dropout_rate": captions.dropout,
        "ss_caption_dropout_every_n_epochs": captions.dropout_every_n_epochs,
        "ss_caption_tag_dropout_rate": captions.tag_dropout,
    }


def _max_token_length(texts: TextConfig) -> int | None:
    """kohya's setting; None, its word for 75, also where ComfyUI takes as many chunks as it needs."""
    tokens = texts.chunks.removeprefix("kohya ")
    return int(tokens) if tokens in ("150", "225") else None


def _has_own_options(cached: CachedDataset) -> bool:
    own = any(s.captions or s.flip is not None or s.interpolation for s in cached.dataset.subsets)
    return own or bool(cached.recipe.more_buckets)


def _datasets(cached: CachedDataset, config: TrainConfig) -> list[dict[str, object]]:
    """One entry per resolution, each with all subsets."""
    dataset = cached.dataset
    subsets = [_subset(subset, cached, config) for subset in dataset.subsets]

    def entry(buckets: BucketConfig) -> dict[str, object]:
        return {
            "is_dreambooth": True,
            "batch_size_per_device": config.batch_size,
            "num_train_images": _showings(dataset.subsets, False),
            "num_reg_images": _showings(dataset.subsets, True),
            "resolution": list(buckets.resolution),
            "enable_bucket": buckets.enabled,
            "min_bucket_reso": buckets.lowest if buckets.enabled else None,
            "max_bucket_reso": buckets.highest if buckets.enabled else None,
            "tag_frequency": dataset.tag_frequency(),
            "resize_interpolation": cached.recipe.interpolation,
            "subsets": subsets,
        }

    return [entry(buckets) for buckets in (cached.recipe.buckets, *cached.recipe.more_buckets)]


def _subset(subset: Subset, cached: CachedDataset, config: TrainConfig) -> dict[str, object]:
    captions = subset.captions or config.captions
    return {
        "img_count": len(subset.samples),
        "num_repeats": subset.repeats,
        "color_aug": False,
        "flip_aug": cached.recipe.flip if subset.flip is None else subset.flip,
        "random_crop": False,
        "shuffle_caption": captions.shuffle,
        "keep_tokens": captions.keep_tokens,
        "keep_tokens_separator": captions.keep_tokens_separator,
        "secondary_separator": captions.secondary_separator or None,
        "enable_wildcard": captions.wildcards,
        "caption_prefix": captions.prefix or None,
        "caption_suffix": captions.suffix or None,
        "resize_interpolation": subset.interpolation or cached.recipe.interpolation,
        "image_dir": subset.name,
        "class_tokens": subset.class_tokens,
        "is_reg": subset.is_reg,
    }
