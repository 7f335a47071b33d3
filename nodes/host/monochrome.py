"""Detect Monochrome on a DATASET."""

from __future__ import annotations

import dataclasses

from ...tagger import Measurement, MonochromePolicy, examine, tag_kind
from ...trainer.cache import check_unchanged
from ...trainer.dataset import Dataset, Sample
from .progress import NodeProgress, check_interrupt


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
