"""The folders of a kohya config as a dataset, read as kohya reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..dataset.dataset import Dataset, Problem, Sample
from ..dataset.file_names import stem
from ..dataset.folders import absolute, folder_stamp
from ..dataset.scan import scan_folder
from ..dataset.subsets import SubsetConfig, merged, with_options
from ..files.digests import digest
from ..files.index import FileIndex
from .dataset import FolderPlan

Find = Callable[[str], Path]
"""A folder that a config names to the folder; ValueError where it may not be or is not there."""


def read_folders(plans: Sequence[FolderPlan], find: Find, index: FileIndex) -> Dataset:
    """The images and captions of all folders.

    Options that are those of the first folder stay open: the settings of the training have them.

    Raises:
        ValueError: a folder is missing or has no usable image.
    """
    main, found = plans[0], []
    for plan in plans:
        dataset = _read(plan, main, find(plan.path), index)
        found.append(_masked(dataset, find(plan.masks), index) if plan.masks else dataset)
    return merged(found)


def folders_stamp(plans: Sequence[FolderPlan], find: Find) -> str:
    """Changes with every file of the folders that is read; opens none."""
    masks = [folder_stamp(find(plan.masks)) for plan in plans if plan.masks]
    return digest(
        [*(folder_stamp(find(plan.path), None, plan.extension) for plan in plans), *masks]
    )


def _read(plan: FolderPlan, main: FolderPlan, folder: Path, index: FileIndex) -> Dataset:
    dataset = scan_folder(
        folder,
        caption_extension=plan.extension,
        repeats=plan.repeats,
        default_caption=plan.class_tokens,
        index=index,
        all_lines=plan.captions.wildcards,
    )
    return with_options(
        _as_kohya(dataset, absolute(folder), plan.numbered),
        SubsetConfig(
            role="regularisation" if plan.is_reg else "training",
            loss_weight=plan.weight,
            flip=None if plan.flip == main.flip else plan.flip,
            interpolation=plan.interpolation,
            captions=None if plan.captions == main.captions else plan.captions,
            preserve=plan.preserves,
            buckets=None if plan.buckets == main.buckets else plan.buckets,
        ),
    )


def _masked(dataset: Dataset, folder: Path, index: FileIndex) -> Dataset:
    """Every image with the mask of its name; kohya as well stops where one is missing."""
    masks = {stem(mask.path.name): mask for _, mask in scan_folder(folder, index=index).samples()}
    missing = [
        sample.path.name for _, sample in dataset.samples() if stem(sample.path.name) not in masks
    ]
    if missing:
        raise ValueError(
            f"conditioning_data_dir {folder} has no mask for {missing[0]}"
            + (f" and {len(missing) - 1} others." if missing[1:] else ".")
        )

    def with_mask(sample: Sample) -> Sample:
        mask = masks[stem(sample.path.name)]
        return replace(sample, mask=mask.path, mask_digest=mask.digest)

    used = absolute(folder)  # where it lies beside the images, it was listed as not read
    problems = tuple(problem for problem in dataset.problems if problem.path != used)
    return replace(dataset.replace_samples(with_mask), problems=problems)


def _as_kohya(dataset: Dataset, folder: Path, numbered: bool) -> Dataset:
    """Only the numbered sub-folders, or only the folder's own images.

    A train_data_dir without numbered sub-folders, at which kohya stops, is taken as it is.
    """
    own = tuple(subset for subset in dataset.subsets if subset.root == folder)
    inner = tuple(subset for subset in dataset.subsets if subset.root != folder)
    if numbered and inner:
        unread = "images beside numbered sub-folders are not read, as in kohya"
        problems = [Problem(folder, unread)] if own else []
        return replace(dataset, subsets=inner, problems=(*dataset.problems, *problems))
    if not own:
        raise ValueError(f"No usable images directly in {folder}; image_dir must hold them.")
    return replace(dataset, subsets=own)
