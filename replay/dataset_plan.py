"""Replay of ``dataset_plan.json``: folder trees made on disk, scanned, bucketed and batched.

The order of batches is ours (counter-based draws), so what is compared of an epoch is what lies in
each bucket and how its batches are cut.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..trainer.batches.plan import epoch_batches
from ..trainer.cache.latents import CachedDataset, LatentConfig, cache_latents
from ..trainer.files.index import FileIndex
from ..trainer.files.store import Store
from ..trainer.kohya.config import KohyaConfig
from ..trainer.kohya.folders import read_folders
from ..trainer.sdxl.buckets import assign
from ..trainer.sdxl.constants import LATENT_CHANNELS, LATENT_PIXELS
from .case import Case, Unsupported
from .kohya_arguments import from_words, import_part

_SEED = 77
Row = tuple[Any, ...]


class _Made(NamedTuple):
    """A tree's dataset in a cache and the batches of its first epoch, each a (bucket, paths)."""

    cached: CachedDataset
    batches: list[tuple[tuple[int, int], list[str]]]


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """Five cases per recorded tree; the error is the number of rows that are on one side only."""
    recorded = json.loads((folder / "dataset_plan.json").read_text(encoding="utf-8"))
    for name, plan in recorded.items():
        try:
            config = _config(plan, name)
        except Unsupported as missing:
            yield missing
            continue
        with tempfile.TemporaryDirectory() as root:
            made = _make(Path(root), plan["tree"], config)
        for quantity, ours, theirs in _compared(made, plan):
            yield Case(f"dataset_plan/{name} {quantity}", _difference(ours, theirs), 0)


def _config(plan: Mapping[str, Any], name: str) -> KohyaConfig:
    """What the importer makes of the arguments; the folders are not among them, but in the tree."""
    given = from_words(plan["args"])
    if any(folder.startswith("reg/") for folder in plan["tree"]):
        given["reg_data_dir"] = "reg"
    return import_part(given, f"dataset_plan {name}")


def _make(root: Path, tree: Mapping[str, Any], config: KohyaConfig) -> _Made:
    cached = make_cache(root, tree, config)
    paths = [s.path.relative_to(root).as_posix() for _, s in cached.dataset.samples()]
    batches = [
        (cached.items[batch[0].item_index].bucket, [paths[item.item_index] for item in batch])
        for batch in epoch_batches(cached, config.train.batch_size, _SEED, 0)
    ]
    return _Made(cached, batches)


def make_cache(root: Path, tree: Mapping[str, Any], config: KohyaConfig) -> CachedDataset:
    """The dataset of a config in a cache, from a tree (see `_write_tree`) below ``data`` and ``reg``."""
    _write_tree(root, tree, f".{config.folders[0].extension.lstrip('.')}")
    kinds = {plan.path: "reg" if plan.is_reg else "data" for plan in config.folders}
    dataset = read_folders(config.folders, lambda path: root / kinds[path], FileIndex(None))
    cache = config.cache
    recipe = LatentConfig(cache.buckets, "none", cache.flip, cache.kohya)
    cached = cache_latents(dataset, recipe, _no_vae, Store(root / "cache"))
    return replace(cached, texts=cache.texts)


def _write_tree(root: Path, tree: Mapping[str, Iterable[Sequence[Any]]], extension: str) -> None:
    """Grey images and caption files: folder -> (stem, width, height, caption or None)."""
    for folder, files in tree.items():
        (root / folder).mkdir(parents=True)
        for stem, width, height, caption in files:
            Image.new("RGB", (width, height)).save(root / folder / f"{stem}.png")
            if caption is not None:
                path = root / folder / (stem + extension)
                path.write_text(caption, encoding="utf-8", newline="")


def _no_vae(pixels: np.ndarray) -> Tensor:
    """Latents of nothing, for a cache whose latents nobody reads."""
    count, height, width, _ = pixels.shape
    return torch.zeros(count, LATENT_CHANNELS, height // LATENT_PIXELS, width // LATENT_PIXELS)


def _compared(made: _Made, plan: dict[str, Any]) -> Iterator[tuple[str, list[Row], list[Row]]]:
    """(what, our rows, kohya's rows)."""
    totals = {False: 0, True: 0}
    for subset in made.cached.dataset.subsets:
        totals[subset.is_reg] += len(subset.samples) * subset.repeats
    recorded = (plan["num_train_images"], plan["num_reg_images"])
    yield "images with repeats", [(totals[False], totals[True])], [recorded]
    keys = ("path", "num_repeats", "is_reg", "caption", "bucket", "resized")
    yield (
        "images",
        _images(made),
        [tuple(_row(image[key]) for key in keys) for image in plan["images"]],
    )
    shown = Counter()
    for bucket, paths in made.batches:
        shown[bucket] += len(paths)
    buckets = [(tuple(bucket["reso"]), bucket["count"]) for bucket in plan["buckets"]]
    yield "buckets", list(shown.items()), buckets
    yield "batches", [(len(made.batches),)], [(plan["batches_per_epoch"],)]
    ours = _cut(made.batches)
    for epoch, batches in plan["batch_order_by_epoch"].items():
        theirs = _cut([(tuple(batch["bucket"]), batch["images"]) for batch in batches])
        yield f"epoch {epoch}", ours, theirs


def _images(made: _Made) -> list[Row]:
    """Path, samples in the first epoch, kind, caption, bucket, size before the crop."""
    shown = Counter(path for _, paths in made.batches for path in paths)
    rows: list[Row] = []
    settings = made.cached.recipe.buckets
    for subset, sample in made.cached.dataset.samples():
        path = sample.path.relative_to(subset.root.parent.parent).as_posix()
        placement = assign(sample.size, settings)
        if shown[path]:
            rows.append(
                (
                    path,
                    shown[path],
                    subset.is_reg,
                    sample.caption,
                    placement.bucket,
                    placement.resized,
                )
            )
    return rows


def _cut(batches: list[tuple[tuple[int, int], list[str]]]) -> list[Row]:
    """For each bucket the images shown, and the sizes of its batches; both without order."""
    pictures: dict[tuple[int, int], list[str]] = {}
    sizes: dict[tuple[int, int], list[int]] = {}
    for bucket, paths in batches:
        pictures.setdefault(bucket, []).extend(paths)
        sizes.setdefault(bucket, []).append(len(paths))
    return [(b, tuple(sorted(pictures[b])), tuple(sorted(sizes[b]))) for b in pictures]


def _row(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _difference(ours: list[Row], theirs: list[Row]) -> int:
    one, other = Counter(ours), Counter(theirs)
    return ((one - other) + (other - one)).total()
