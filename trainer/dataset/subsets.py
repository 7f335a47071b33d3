"""Datasets put together, and their subsets given options of their own: values to values."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from ...base.config import Config, Problems
from ..config.captions import CaptionConfig
from ..sdxl.buckets import BucketConfig
from .dataset import Dataset, Interpolation, Sample, Subset

Role = Literal["as loaded", "training", "regularisation"]
"""What a subset's images are for."""


@dataclass(frozen=True)
class SubsetConfig(Config):
    """What to change about every subset of a dataset; the defaults change nothing."""

    title = "Dataset options"

    repeats: int = 0
    """Each image comes so many times in an epoch, 0 or more; 0 leaves what is there."""
    role: Role = "as loaded"
    """The images are for this, training or regularisation; `as loaded` leaves what is there."""
    loss_weight: float = 1.0
    """The weights of the images are multiplied by this, 0 or more (kohya's prior_loss_weight for
    regularisation images)."""
    flip: bool | None = None
    """The images are cached flipped left to right as well; None leaves what is there."""
    interpolation: Interpolation | None = None
    """The images are resized in this way; None leaves what is there."""
    captions: CaptionConfig | None = None
    """The captions are read in this way; None leaves what is there."""
    buckets: BucketConfig | None = None
    """The images are grouped by shape in this way; None leaves what is there."""
    preserve: bool = False
    """The target is the model's own prediction, with the LoRA off (kohya: diff_output_preservation)."""
    batch_size: int = 0
    """A batch has so many of the images, 0 to 256; 0 leaves what is there."""
    strength: float | None = None
    """The adapters act at this strength on the images (kohya: network_multiplier); None leaves what is
    there."""

    def check(self, problems: Problems) -> None:
        for name in ("repeats", "loss_weight"):
            value = getattr(self, name)
            problems.need(value >= 0, f"{name} is {value}; it must be 0 or more")
        problems.need(0 <= self.batch_size <= 256, f"batch_size is {self.batch_size}; 0..256")
        problems.need(
            self.strength is None or (math.isfinite(self.strength) and self.strength != 0),
            f"strength is {self.strength}; it must be a number other than 0, at which nothing is learned",
        )


def merged(datasets: Iterable[Dataset]) -> Dataset:
    """All subsets in order, with their own options; triggers that differ are joined by commas."""
    datasets = list(datasets)
    problems = dict.fromkeys(problem for dataset in datasets for problem in dataset.problems)
    triggers = dict.fromkeys(dataset.trigger for dataset in datasets if dataset.trigger)
    subsets = tuple(subset for dataset in datasets for subset in dataset.subsets)
    notes = dict.fromkeys(note for dataset in datasets for note in dataset.notes)
    return Dataset(subsets, tuple(problems), ", ".join(triggers), tuple(notes))


def with_options(dataset: Dataset, config: SubsetConfig) -> Dataset:
    """The dataset, each subset with what ``config`` says."""
    subsets = tuple(_changed(subset, config) for subset in dataset.subsets)
    return replace(dataset, subsets=subsets)


def _changed(subset: Subset, config: SubsetConfig) -> Subset:
    def weighed(sample: Sample) -> Sample:
        return replace(sample, weight=sample.weight * config.loss_weight)

    return replace(
        subset,
        repeats=config.repeats or subset.repeats,
        is_reg=subset.is_reg if config.role == "as loaded" else config.role == "regularisation",
        samples=tuple(map(weighed, subset.samples)),
        flip=subset.flip if config.flip is None else config.flip,
        interpolation=config.interpolation or subset.interpolation,
        captions=config.captions or subset.captions,
        buckets=config.buckets or subset.buckets,
        preserves=config.preserve or subset.preserves,
        batch_size=config.batch_size or subset.batch_size,
        strength=subset.strength if config.strength is None else config.strength,
    )
