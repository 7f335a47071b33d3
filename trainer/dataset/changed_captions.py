"""Whether caption files still say what a dataset says: for who writes them long after they were read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from .caption_files import read_caption
from .dataset import Dataset, Sample


def missing_files(dataset: Dataset) -> frozenset[Path]:
    """The caption files of a dataset that are not there, found by listing each folder once."""
    names: dict[Path, Collection[str]] = {}
    missing = set()
    for _, sample in dataset.samples():
        folder = sample.caption_path.parent
        if folder not in names:
            names[folder] = frozenset(os.listdir(folder)) if folder.is_dir() else ()  # noqa: PTH208
        if sample.caption_path.name not in names[folder]:
            missing.add(sample.caption_path)
    return frozenset(missing)


def changed_captions(samples: Iterable[Sample], missing: Collection[Path]) -> list[Path]:
    """The caption files that say something else now than their samples, which were read earlier.

    ``missing`` are those that were not there then: the samples' captions came from elsewhere.
    """
    return [sample.caption_path for sample in samples if not _is_as_read(sample, missing)]


def _is_as_read(sample: Sample, missing: Collection[Path]) -> bool:
    if not os.path.lexists(sample.caption_path):
        return sample.caption_path in missing
    try:
        text = read_caption(sample.caption_path, sample.all_lines)
    except ValueError:
        return False
    return sample.caption_path not in missing and text == sample.caption
