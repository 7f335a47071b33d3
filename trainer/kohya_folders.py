"""The folders of a kohya config as a dataset, read as kohya reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .dataset import Dataset, Problem
from .digests import digest
from .file_index import FileIndex
from .folders import absolute, folder_stamp
from .kohya_dataset import FolderPlan
from .scan import scan_folder
from .subsets import SubsetOptions, merged, with_options

Find = Callable[[str], Path]
"""A folder that a config names to the folder; ValueError where it may not be or is not there."""


def read_folders(plans: Sequence[FolderPlan], find: Find, index: FileIndex) -> Dataset:
    """The pictures and captions of all folders.

    Options that are those of the first folder stay open: the settings of the training have them.

    Raises:
        ValueError: a folder is missing or has no usable picture.
    """
    main = plans[0]
    return merged(_read(plan, main, find(plan.path), index) for plan in plans)


def folders_stamp(plans: Sequence[FolderPlan], find: Find) -> str:
    """Changes with every file of the folders that is read; opens none."""
    stamps = [folder_stamp(find(plan.path), None, plan.extension) for plan in plans]
    return digest([*stamps])


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
        SubsetOptions(
            role="regularisation" if plan.is_reg else "training",
            loss_weight=plan.weight,
            flip=None if plan.flip == main.flip else plan.flip,
            interpolation=plan.interpolation,
            captions=None if plan.captions == main.captions else plan.captions,
            buckets=None if plan.buckets == main.buckets else plan.buckets,
        ),
    )


def _as_kohya(dataset: Dataset, folder: Path, numbered: bool) -> Dataset:
    """Only the numbered sub-folders, or only the folder's own pictures.

    A train_data_dir without numbered sub-folders, at which kohya stops, is taken as it is.
    """
    own = tuple(subset for subset in dataset.subsets if subset.root == folder)
    inner = tuple(subset for subset in dataset.subsets if subset.root != folder)
    if numbered and inner:
        unread = "pictures beside numbered sub-folders are not read, as in kohya"
        problems = [Problem(folder, unread)] if own else []
        return replace(dataset, subsets=inner, problems=(*dataset.problems, *problems))
    if not own:
        raise ValueError(f"No usable pictures directly in {folder}; image_dir must hold them.")
    return replace(dataset, subsets=own)
