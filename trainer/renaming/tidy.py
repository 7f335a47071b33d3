"""Tidy names for the files of a dataset: told, given, and taken back; and the dataset that follows them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from ..dataset.dataset import Dataset, Sample
from ..dataset.file_names import stem
from ..dataset.side_files import MASK_FOLDER
from .journal import Move, Renaming, forget_older, last_renaming
from .plan import File, Naming, ending, plan, real_folders

Mode = Literal["dry run", "rename", "undo"]
MODES: tuple[Mode, ...] = get_args(Mode)


def tidy(
    dataset: Dataset,
    naming: Naming,
    mode: Mode,
    journals: Path,
    check: Callable[[Collection[Path]], None] | None = None,
) -> tuple[Dataset, str]:
    """Rename a dataset's files, or tell how, or undo the last renaming; the dataset then, and a report.

    Folder by folder, in the dataset's order: images with their captions and masks, and no other
    files; images that share a stem keep sharing one. Nothing is overwritten. What it takes to undo
    is in the folder ``journals`` before the first file is renamed. ``check`` is given the folders of
    the files before that, and may refuse.

    Raises:
        ValueError: a name will not do; a file is gone, changed or in the way; ``check`` refuses; a
            file could not be renamed, and all have their old names again; or an interrupted renaming
            was ended.
    """
    homes = real_folders(dataset).values()
    last = last_renaming(journals, [*homes, *(home / MASK_FOLDER for home in homes)])
    if last is not None and last.is_interrupted:
        if check is not None and mode != "dry run":
            check(last.folders)
        return dataset, _mend(last, mode)
    if mode == "undo":
        if last is None or last.stage == "undone":
            return dataset, "there is no renaming to undo here"
        if check is not None:
            check(last.folders)
        _do(last, back=True)
        names = {File(move.folder, move.new): move.old for move in last.moves}
        return _follow(dataset, names), _report("renamed back", names)
    moves, kept = plan(dataset, naming)
    names = {File(move.folder, move.old): move.new for move in moves}
    if mode == "dry run":
        return dataset, _report("would be renamed", names, kept)
    if moves:
        if check is not None:
            check(dict.fromkeys(move.folder for move in moves))
        _rename(journals, moves)
    return _follow(dataset, names), _report("renamed", names, kept)


def _rename(journals: Path, moves: Sequence[Move]) -> None:
    try:
        renaming = Renaming.begin(journals, moves)
    except OSError as error:
        raise ValueError(
            f"The undo file cannot be written to {journals}: {error.strerror or error}. Nothing was renamed."
        ) from error
    _do(renaming)
    forget_older(renaming)


def _do(renaming: Renaming, *, back: bool = False) -> None:
    """Rename forwards or backwards; when a file will not be renamed, all go where they came from."""
    there, back_again = renaming.forward, renaming.backward
    if back:
        there, back_again = back_again, there
    try:
        there()
    except OSError as error:
        try:
            back_again()
        except (OSError, ValueError) as second:
            raise ValueError(
                f"A file could not be renamed: {error}. Nor could all be put back: {second}. Some "
                "are between two names now. Close what uses them, then choose rename to go on or "
                "undo to go back, and queue again."
            ) from error
        raise ValueError(
            f"A file could not be renamed: {error}. All have their names of before again. Close "
            "what uses it, or make the folder writable, and queue again."
        ) from error


def _mend(renaming: Renaming, mode: Mode) -> str:
    """End an interrupted renaming. The dataset was read in the middle of it, so the graph ends there."""
    if mode == "dry run":
        return (
            f"A renaming of {len(renaming.moves)} file(s) was interrupted here. Choose rename to "
            "finish it, or undo to take it back."
        )
    _do(renaming, back=mode == "undo")
    done = "taken back" if mode == "undo" else "finished"
    raise ValueError(
        f"A renaming of {len(renaming.moves)} file(s) that was interrupted here is {done} now. Queue "
        "again, so that Load Dataset reads the files under their names."
    )


def _follow(dataset: Dataset, names: Mapping[File, str]) -> Dataset:
    """The dataset with its images, captions and masks under their new names."""
    homes = real_folders(dataset)

    def followed(sample: Sample) -> Sample:
        home = homes[sample.path.parent]
        name = names.get(File(home, sample.path.name), sample.path.name)
        caption = sample.caption_path.name
        if File(home, caption) in names:
            caption = names[File(home, caption)]
        elif name != sample.path.name:  # the caption is not written yet
            caption = stem(name) + ending(caption, sample.path.stem)
        mask = sample.mask
        if mask is not None:
            beside = mask.parent == sample.path.parent
            place = home if beside else home / MASK_FOLDER
            mask = mask.with_name(names.get(File(place, mask.name), mask.name))
        return replace(
            sample,
            path=sample.path.with_name(name),
            caption_path=sample.caption_path.with_name(caption),
            mask=mask,
        )

    return dataset.replace_samples(followed)


def _report(done: str, names: Mapping[File, str], kept: Sequence[str] = ()) -> str:
    """A line per file, folder by folder."""
    lines = [f"{len(names)} file(s) {done}" if names else "all files have these names"]
    for folder in dict.fromkeys(file.folder for file in names):
        here = {file.name: name for file, name in names.items() if file.folder == folder}
        lines += [f"{folder}:", *(f"  {old} -> {new}" for old, new in here.items())]
    return "\n".join([*lines, *kept])
