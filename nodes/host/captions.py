"""The tagger's rules applied to a DATASET: filters and the monochrome test."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ...tagger import (
    FilterOptions,
    Measurement,
    MonochromePolicy,
    examine,
    filter_captions,
    tag_kind,
)
from ...trainer.cache import check_unchanged
from ...trainer.dataset import Dataset, Sample
from .progress import NodeProgress, check_interrupt

SHOWN_CHANGES = 200


def filter_dataset(dataset: Dataset, options: FilterOptions) -> tuple[Dataset, str]:
    """The dataset with filtered captions and the trigger word, and the report.

    Regularisation pictures show what the trigger is not: they are filtered without it.
    """
    texts: dict[Path, str] = {}
    reports = []
    for is_reg in (False, True):
        samples = [s for subset, s in dataset.samples() if subset.is_reg == is_reg]
        if not samples:
            continue
        rules = dataclasses.replace(options, trigger="") if is_reg else options
        names = [sample.path.name for sample in samples]
        filtered, report = filter_captions([s.caption for s in samples], rules, names)
        texts.update(zip((s.path for s in samples), filtered, strict=True))
        reports.append(("regularisation pictures: " if is_reg else "") + report.text(SHOWN_CHANGES))
    trigger = options.trigger or dataset.trigger
    result = dataclasses.replace(dataset.with_captions(texts), trigger=trigger)
    return result, "\n\n".join(reports)


def detect_monochrome(
    dataset: Dataset,
    policy: MonochromePolicy,
    weight: float,
    thresholds: tuple[float, float],
    node_id: str | None = None,
) -> tuple[Dataset, str]:
    """Examine every picture and apply the policy to those found; the report has their numbers."""
    check_unchanged(dataset)
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
