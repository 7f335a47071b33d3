"""Datasets put together, and their subsets given options of their own: values to values."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from ..config.captions import CaptionConfig
from ..sdxl.buckets import BucketConfig
from .dataset import Dataset, Interpolation, Sample, Subset

Role = Literal["as loaded", "training", "regularisation"]
"""What a subset's pictures are for."""


@dataclass(frozen=True)
class SubsetConfig:
    """What to change about every subset of a dataset; the defaults change nothing.

    ``repeats`` 0, ``captions``, ``flip``, ``interpolation`` and ``buckets`` None leave what is there.
    ``loss_weight`` multiplies the weights of the pictures (kohya's prior_loss_weight for
    regularisation pictures). ``preserve``: the target is the model's own answer, with the LoRA off
    (kohya's diff_output_preservation).
    """

    repeats: int = 0
    role: Role = "as loaded"
    loss_weight: float = 1.0
    flip: bool | None = None
    interpolation: Interpolation | None = None
    captions: CaptionConfig | None = None
    buckets: BucketConfig | None = None
    preserve: bool = False

    def __post_init__(self) -> None:
        if self.repeats < 0 or self.loss_weight < 0:
            raise ValueError(
                f"Dataset options: repeats ({self.repeats}) and loss_weight ({self.loss_weight}) must "
                "be 0 or more."
            )


def merged(datasets: Iterable[Dataset]) -> Dataset:
    """All subsets in order, with their own options; triggers that differ are joined by commas."""
    datasets = list(datasets)
    problems = dict.fromkeys(problem for dataset in datasets for problem in dataset.problems)
    triggers = dict.fromkeys(dataset.trigger for dataset in datasets if dataset.trigger)
    subsets = tuple(subset for dataset in datasets for subset in dataset.subsets)
    return Dataset(subsets, tuple(problems), ", ".join(triggers))


def with_options(dataset: Dataset, options: SubsetConfig) -> Dataset:
    """The dataset, each subset with what ``options`` say."""
    subsets = tuple(_changed(subset, options) for subset in dataset.subsets)
    return replace(dataset, subsets=subsets)


def _changed(subset: Subset, options: SubsetConfig) -> Subset:
    def weighed(sample: Sample) -> Sample:
        return replace(sample, weight=sample.weight * options.loss_weight)

    return replace(
        subset,
        repeats=options.repeats or subset.repeats,
        is_reg=subset.is_reg if options.role == "as loaded" else options.role == "regularisation",
        samples=tuple(map(weighed, subset.samples)),
        flip=subset.flip if options.flip is None else options.flip,
        interpolation=options.interpolation or subset.interpolation,
        captions=options.captions or subset.captions,
        buckets=options.buckets or subset.buckets,
        preserves=options.preserve or subset.preserves,
    )
