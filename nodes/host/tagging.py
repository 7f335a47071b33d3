"""Tagging a dataset: where the model lies, what is known already, what must be inferred."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ...tagger import (
    MODEL_NAMES,
    MergePolicy,
    ModelFiles,
    Provider,
    TagOptions,
    count_tags,
    download,
    local_names,
    locate,
    merge,
    read_labels,
    select,
)
from ...trainer.cache import check_unchanged
from ...trainer.dataset import Dataset, Sample, TagScore
from ...trainer.digests import digest
from ...trainer.store import Store
from . import folders
from .files import content_digest
from .progress import NodeProgress, check_interrupt
from .registry import REGISTRY

KIND = "tags"
TOP_TAGS = 30


@dataclass(frozen=True)
class TagRequest:
    """What the WD14 Tag node was given."""

    dataset: Dataset
    model: str
    options: TagOptions
    policy: MergePolicy
    provider: Provider = "auto"
    batch_size: int = 8
    node_id: str | None = None


def model_names() -> list[str]:
    """Taggers that lie in the models folder, then those that can be downloaded."""
    local = [name for folder in folders.tagger_folders() for name in local_names(folder)]
    return list(dict.fromkeys([*MODEL_NAMES[:1], *local, *MODEL_NAMES]))


def find_model(name: str, node_id: str | None) -> ModelFiles:
    """The files of a tagger, downloaded once if need be. Raises ValueError saying where to get it."""
    places = folders.tagger_folders()
    try:
        return locate(places, name)
    except ValueError:
        if name not in MODEL_NAMES:
            raise
    bar = NodeProgress(100, node_id)

    def show(done: int, total: int) -> None:
        check_interrupt()
        bar.update(done * 100 // max(1, total), f"downloading {name}: {done >> 20} MiB")

    return download(name, places[0], show)


def tag_dataset(request: TagRequest) -> tuple[Dataset, str]:
    """The dataset with new captions and scored tags, and a report with the tag frequencies."""
    check_unchanged(request.dataset)
    files = find_model(request.model, request.node_id)
    labels = read_labels(files.tags)
    rows, where = _probabilities(request, files)
    found: list[list[str]] = []

    def tagged(sample: Sample) -> Sample:
        tags = select(rows[sample.digest], labels, request.options)
        names = [tag.name for tag in tags]
        caption = merge(sample.caption, names, request.policy, request.options.separator)
        found.append(names)
        return dataclasses.replace(sample, caption=caption, tags=tuple(TagScore(*t) for t in tags))

    dataset = request.dataset.replace_samples(tagged)
    return dataset, _report(request, where, found)


def _probabilities(request: TagRequest, files: ModelFiles) -> tuple[dict[str, np.ndarray], str]:
    """Probabilities by picture digest, and where they come from.

    What the cache has is not inferred again, and the model is opened only for the rest.
    """
    store = Store(folders.cache_root())
    model = digest(content_digest(files.model), content_digest(files.tags))
    rows: dict[str, np.ndarray] = {}
    missing: dict[str, Path] = {}
    for _, sample in request.dataset.samples():
        known = store.load(KIND, digest(KIND, model, sample.digest))
        if known is None:
            missing[sample.digest] = sample.path
        else:
            rows[sample.digest] = known["probabilities"].numpy()
    if not missing:
        return rows, "from the cache"
    tagger = REGISTRY.tagger(files, request.provider)
    bar = NodeProgress(len(missing), request.node_id)
    pending, done = iter(missing), 0
    for block in tagger.batches(missing.values(), request.batch_size):
        check_interrupt()
        for row, name in zip(block, islice(pending, len(block)), strict=True):
            tensors = {"probabilities": torch.from_numpy(row.copy())}
            store.save(KIND, digest(KIND, model, name), tensors)
            rows[name] = row
        done += len(block)
        bar.update(done, f"tagged {done}/{len(missing)} on {tagger.provider}")
    return rows, f"on {tagger.provider}"


def _report(request: TagRequest, where: str, found: list[list[str]]) -> str:
    counts = count_tags(found)
    lines = [f"{len(found)} pictures tagged with {request.model} {where}"]
    lines += [f"  {count:5}  {tag}" for tag, count in counts[:TOP_TAGS]]
    if len(counts) > TOP_TAGS:
        lines.append(f"  and {len(counts) - TOP_TAGS} other tags")
    return "\n".join(lines)
