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
from .dataset import FolderPlan, largest_batch
from .toml import MissingError

Find = Callable[[str], Path]
"""A folder that a config names to the folder.

Raises MissingError where there is none, ValueError where it may not be.
"""


def read_folders(plans: Sequence[FolderPlan], find: Find, index: FileIndex) -> Dataset:
    """The images and captions of all folders; one that has none is left out and listed, as in kohya.

    Options that are those of the first folder stay open: the settings of the training have them.

    Raises:
        ValueError: no folder has a usable image to train on, or masks that are wanted are missing.
    """
    main, found, left_out = plans[0], list[Dataset](), list[tuple[FolderPlan, ValueError]]()
    largest = largest_batch(plans)
    for plan in plans:
        dataset = _read_if_any(plan, main, largest, find, index)
        if isinstance(dataset, ValueError):
            left_out.append((plan, dataset))
            continue
        found.append(_with_masks(dataset, plan, find, index) if plan.masks else dataset)
    if all(subset.is_reg for dataset in found for subset in dataset.subsets):
        plan, error = next((plan, error) for plan, error in left_out if not plan.is_reg)
        more = f" {len(left_out) - 1} more folders have no usable image." if left_out[1:] else ""
        raise ValueError(f"{plan.place}: {error}{more}")
    dataset = merged(found)
    problems = [
        Problem(Path(plan.path), f"left out as in kohya ({plan.place}): {error}")
        for plan, error in left_out
    ]
    return replace(dataset, problems=(*dataset.problems, *problems))


def folders_stamp(plans: Sequence[FolderPlan], find: Find) -> str:
    """Changes with every file of the folders that is read, and when one comes or goes; opens none."""
    stamps = [_stamp(plan.path, plan.extension, find) for plan in plans]
    return digest([*stamps, *(_stamp(plan.masks, "", find) for plan in plans if plan.masks)])


def _stamp(path: str, extension: str, find: Find) -> str:
    try:
        return folder_stamp(find(path), None, extension)
    except ValueError as problem:
        return str(problem)


def folder_differences(plans: Sequence[FolderPlan], dataset: Dataset, find: Find) -> list[str]:
    """What is unlike kohya in how the folders are read, a sentence each."""
    roots = {subset.root for subset in dataset.subsets}
    flat = [plan for plan in plans if plan.numbered and _at(plan.path, find) in roots]
    return [
        f"{plan.path} has no sub-folders named <repeats>_<name>, so its own images are taken, once each; "
        + (
            "kohya uses no regularisation images then"
            if plan.is_reg
            else "kohya finds no images then"
        )
        for plan in flat
    ]


def _at(path: str, find: Find) -> Path | None:
    try:
        return absolute(find(path))
    except ValueError:
        return None


def _read_if_any(
    plan: FolderPlan, main: FolderPlan, largest: int, find: Find, index: FileIndex
) -> Dataset | ValueError:
    """The folder's images, or why there are none."""
    try:
        folder = find(plan.path)
    except MissingError as error:
        return error
    try:
        return _read(plan, main, largest, folder, index)
    except ValueError as error:
        return error


def _read(
    plan: FolderPlan, main: FolderPlan, largest: int, folder: Path, index: FileIndex
) -> Dataset:
    dataset = scan_folder(
        folder,
        caption_extension=plan.extension,
        repeats=plan.repeats,
        default_caption=plan.class_tokens,
        index=index,
        all_lines=plan.captions.wildcards,
    )
    dataset = _as_kohya(dataset, absolute(folder), plan.numbered)
    return with_options(
        _large_enough(dataset, plan) if plan.larger_than else dataset,
        SubsetConfig(
            role="regularisation" if plan.is_reg else "training",
            loss_weight=plan.weight,
            flip=None if plan.flip == main.flip else plan.flip,
            interpolation=plan.interpolation,
            captions=None if plan.captions == main.captions else plan.captions,
            preserve=plan.preserves,
            buckets=None if plan.buckets == main.buckets else plan.buckets,
            batch_size=0 if plan.batch_size == largest else plan.batch_size,
            strength=plan.multiplier,
        ),
    )


def _large_enough(dataset: Dataset, plan: FolderPlan) -> Dataset:
    """Without the images that are too small, which are listed. Source: `DreamBoothDataset`."""
    assert plan.larger_than is not None
    width, height = plan.larger_than
    small = [
        sample.path
        for _, sample in dataset.samples()
        if sample.size[0] * sample.size[1] <= width * height
    ]
    kept = dataset.without(small)
    if not kept.subsets:
        raise ValueError(
            f"No image is larger than {width} x {height}, the skip_image_resolution of this folder."
        )
    reason = f"no larger than {width} x {height}, left out by skip_image_resolution"
    return replace(kept, problems=(*kept.problems, *(Problem(path, reason) for path in small)))


def _with_masks(dataset: Dataset, plan: FolderPlan, find: Find, index: FileIndex) -> Dataset:
    """The images with their masks; where masked loss is off a folder of masks may be missing."""
    try:
        return _masked(dataset, find(plan.masks), index)
    except MissingError:
        if plan.masked:
            raise
        return dataset


def _masked(dataset: Dataset, folder: Path, index: FileIndex) -> Dataset:
    """Every image with the mask of its name; kohya as well stops where one is missing."""
    masks = {stem(mask.path.name): mask for _, mask in scan_folder(folder, index=index).samples()}
    missing = [
        sample.path.name for _, sample in dataset.samples() if stem(sample.path.name) not in masks
    ]
    if missing:
        raise MissingError(
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
