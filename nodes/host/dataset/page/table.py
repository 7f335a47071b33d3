"""A dataset as the page is told of it: a row for each image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from .....trainer.dataset.choices import Choice
from .....trainer.dataset.dataset import Subset
from .....trainer.sdxl.buckets import BucketConfig, Size, assign
from .findings import FOUND
from .seen import SeenDataset, Shown

_VERSION_DIGITS = 12


def dataset_row(seen: SeenDataset) -> dict[str, Any]:
    """What the list of datasets says of one."""
    return {
        "id": seen.name,
        "title": seen.title,
        "images": len(seen.images),
        "read_at": seen.read_at,
    }


def dataset_table(seen: SeenDataset) -> dict[str, Any]:
    """Folders and images. What is as usual is left out of a row: no flags, weight 1, not left out."""
    subsets = seen.dataset.subsets
    buckets = [FOUND.buckets(subset.root) for subset in subsets]
    assigners = [
        _assigner(known or subset.buckets or BucketConfig())
        for known, subset in zip(buckets, subsets, strict=True)
    ]
    rows = [
        _image_row(key, shown, seen.choices.get(shown.sample.path, Choice()), assigners)
        for key, shown in seen.images.items()
    ]
    checked: dict[str, None] = {}
    for shown in seen.images.values():
        checked |= dict.fromkeys(FOUND.of(shown.sample))
    folders = [_folder_row(subset, known) for subset, known in zip(subsets, buckets, strict=True)]
    return {
        **dataset_row(seen),
        "stamp": seen.stamp,
        "folders": folders,
        "checked": list(checked),
        "rows": rows,
    }


def _folder_row(subset: Subset, known: BucketConfig | None) -> dict[str, Any]:
    by = "Cache Latents" if known else "the dataset" if subset.buckets else "default settings"
    return {
        "name": subset.name,
        "repeats": subset.repeats,
        "regularisation": subset.is_reg,
        "buckets_by": by,
    }


def _image_row(
    key: str, shown: Shown, choice: Choice, assigners: list[Callable[[Size], Size | None]]
) -> dict[str, Any]:
    sample = shown.sample
    row: dict[str, Any] = {
        "key": key,
        "name": sample.path.name.encode("utf-8", "replace").decode(),
        "folder": shown.subset,
        "size": sample.size,
        "bucket": assigners[shown.subset](sample.size),
        "caption": sample.caption,
        "version": sample.digest[:_VERSION_DIGITS],
    }
    flags = {flag: why for flag, why in FOUND.of(sample).items() if why}
    if flags:
        row["flags"] = flags
    if choice.left_out:
        row["left_out"] = True
    if choice.weight != 1:
        row["weight"] = choice.weight
    return row


def _assigner(config: BucketConfig) -> Callable[[Size], Size | None]:
    """The bucket of a size; None for an image that fits none. Many images have the same size."""

    @cache
    def bucket(size: Size) -> Size | None:
        try:
            return assign(size, config).bucket
        except ValueError:
            return None

    return bucket
