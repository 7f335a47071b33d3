"""Detect Monochrome on a DATASET: measuring what is not remembered, and the policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from ....base.read_ahead import in_order, thread_count
from ....tagger import (
    NUMBERS,
    Kind,
    MonochromeConfig,
    MonochromeMethod,
    MonochromePolicy,
    examine,
    tag_kind,
)
from ....trainer.dataset.dataset import Dataset, Sample
from ....trainer.dataset.unchanged import check_unchanged
from ....trainer.files.digests import digest
from ....trainer.files.small_store import SmallStore
from ..cache_folder import small_store
from ..progress import NodeProgress, check_interrupt
from .page.findings import FOUND

KIND = "monochrome"
RECIPE = 1
"""Raised when the numbers of an image change, so that older ones are not used."""

_MAX_THREADS = 4


def detect_monochrome(
    dataset: Dataset,
    options: MonochromeConfig,
    policy: MonochromePolicy,
    weight: float,
    node_id: str | None = None,
) -> tuple[Dataset, str, str]:
    """Examine every image and apply the policy to those without colour.

    Also returns a report on those, and a table with the numbers of all images, tab separated.
    """
    numbers = _numbers(dataset, options.method, node_id)
    kinds: dict[str, Kind | None] = {
        name: options.kind(measured) for name, measured in numbers.items()
    }
    result = dataset.replace_samples(
        lambda sample: _changed(sample, kinds[sample.digest], policy, weight)
    )
    names = NUMBERS[options.method]
    report, table = [], ["\t".join(["folder", "picture", "kind", *names])]
    for subset, sample in dataset.samples():
        kind, values = kinds[sample.digest], [f"{n:.4f}" for n in numbers[sample.digest]]
        cells = [subset.name, sample.path.name, kind or "colour", *values]
        table.append("\t".join(" ".join(cell.split()) for cell in cells))
        if kind is not None:
            shown = ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
            report.append(f"  {sample.path.name}: {kind} ({shown})")
    FOUND.add(
        (sample for _, sample in dataset.samples()),
        ["monochrome"],
        {s.path: {"monochrome": k} for _, s in dataset.samples() if (k := kinds[s.digest])},
    )
    head = f"{len(report)} of {dataset.image_count} images have no colour; policy: {policy}"
    return result, "\n".join([head, *report]), "\n".join(table)


def _changed(
    sample: Sample, kind: Kind | None, policy: MonochromePolicy, weight: float
) -> Sample | None:
    if kind is None:
        return sample
    if policy == "exclude":
        return None
    if policy == "down-weight":
        return dataclasses.replace(sample, weight=sample.weight * weight)
    return dataclasses.replace(sample, caption=tag_kind(sample.caption, kind))


def _numbers(
    dataset: Dataset, method: MonochromeMethod, node_id: str | None
) -> Mapping[str, tuple[float, float]]:
    """The numbers by image digest. What the cache has is not decoded again."""
    check_unchanged(dataset)
    known: dict[str, tuple[float, float]] = {}
    missing: dict[str, Path] = {}
    with small_store() as store:
        for _, sample in dataset.samples():
            value = store.load(digest(KIND, RECIPE, method, sample.digest))
            if value is None:
                missing[sample.digest] = sample.path
            else:
                first, second = np.frombuffer(value, "<f8").tolist()
                known[sample.digest] = first, second
        known.update(_measured(missing, method, store, node_id))
    return known


def _measured(
    missing: Mapping[str, Path], method: MonochromeMethod, store: SmallStore, node_id: str | None
) -> Iterator[tuple[str, tuple[float, float]]]:
    """The numbers of images that are not known, by digest; each is remembered at once."""
    bar = NodeProgress(max(1, len(missing)), node_id)
    numbers = in_order(
        partial(examine, method=method),
        missing.values(),
        name="lora-loop-examine",
        threads=thread_count(_MAX_THREADS),
    )
    with closing(numbers) as measured:
        for done, (name, pair) in enumerate(zip(missing, measured, strict=True), 1):
            check_interrupt()
            store.save(KIND, digest(KIND, RECIPE, method, name), np.array(pair, "<f8").tobytes())
            bar.update(done)
            yield name, pair
