"""The tagger's rules applied to a DATASET: filters and the monochrome test."""

from __future__ import annotations

import dataclasses

from ...tagger import (
    FilterOptions,
    Measurement,
    MonochromePolicy,
    examine,
    filter_captions,
    tag_kind,
)
from ...trainer.dataset import Dataset, Sample
from .progress import NodeProgress, check_interrupt

SHOWN_CHANGES = 200


def filter_dataset(dataset: Dataset, options: FilterOptions) -> tuple[Dataset, str]:
    """The dataset with filtered captions and the trigger word, and the report."""
    paths = [sample.path for _, sample in dataset.samples()]
    captions = [sample.caption for _, sample in dataset.samples()]
    texts, report = filter_captions(captions, options, [path.name for path in paths])
    filtered = dataset.with_captions(dict(zip(paths, texts, strict=True)))
    trigger = options.trigger or dataset.trigger
    return dataclasses.replace(filtered, trigger=trigger), report.text(SHOWN_CHANGES)


def detect_monochrome(
    dataset: Dataset,
    policy: MonochromePolicy,
    weight: float,
    thresholds: tuple[float, float],
    node_id: str | None = None,
) -> tuple[Dataset, str]:
    """Examine every picture and apply the policy to those found; the report has their numbers."""
    bar = NodeProgress(dataset.image_count, node_id)
    found: list[str] = []
    examined = 0

    def changed(sample: Sample) -> Sample | None:
        nonlocal examined
        check_interrupt()
        measured = examine(sample.path, *thresholds)
        examined += 1
        bar.update(examined)
        if measured.kind is None:
            return sample
        found.append(_line(sample, measured))
        if policy == "exclude":
            return None
        if policy == "down-weight":
            return dataclasses.replace(sample, weight=sample.weight * weight)
        return dataclasses.replace(sample, caption=tag_kind(sample.caption, measured.kind))

    result = dataset.replace_samples(changed)
    head = f"{len(found)} of {examined} pictures lack colour; policy: {policy}"
    return result, "\n".join([head, *found])


def _line(sample: Sample, measured: Measurement) -> str:
    return (
        f"  {sample.path.name}: {measured.kind} (saturation mean {measured.saturation_mean:.4f}, "
        f"hue deviation {measured.hue_std:.4f})"
    )
