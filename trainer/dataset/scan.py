"""A folder of images on disk to a Dataset: any folder, or kohya's numbered sub-folders."""

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from ...base.image_file import NAMES, explain
from ...base.read_ahead import in_order, thread_count
from ...base.shortened import in_sentence
from ..files.digests import bytes_digest
from ..files.index import FileFacts, FileIndex, FileStamp
from . import images
from .caption_files import caption_ending, caption_name, read_caption
from .dataset import Dataset, Problem, Sample, Subset
from .file_names import same_name, stem
from .folders import (
    Listing,
    PictureFolder,
    absolute,
    hidden_pictures,
    image_names,
    list_folder,
    picture_folders,
    picture_names,
    side_pictures,
    unread_folders,
    unread_pictures,
)
from .side_files import MASK_FOLDER, SideFile, mask_owners, not_used
from .unused_texts import unused_texts

_MAX_THREADS = 8
_AHEAD = 64  # their facts are small
_LISTED = 5


class _Read(NamedTuple):
    """An image file that was read or known: its stat and facts."""

    stamp: FileStamp
    facts: FileFacts


class _Options(NamedTuple):
    """How captions are read, and what is known of files."""

    extension: str
    all_lines: bool
    default_caption: str
    known: FileIndex


def scan_folder(
    root: Path,
    *,
    reg_root: Path | None = None,
    caption_extension: str = ".txt",
    repeats: int = 1,
    default_caption: str = "",
    index: FileIndex | None = None,
    recursive: bool = False,
    all_lines: bool = False,
) -> Dataset:
    """Read the images and captions of ``root``, and regularisation images of ``reg_root``.

    Where sub-folders named ``<repeats>_<name>`` or ``<repeats>`` exist each becomes a subset as in kohya
    (docs/kohya.md, "Folders and captions on disk"), its name the caption of images that have none.
    Images directly in ``root`` are a subset with ``repeats``; with ``recursive`` all other
    sub-folders are read, too. ``all_lines`` takes all lines of a caption file, not the first only.
    Files that cannot be used are listed in ``problems``, other programs' files in ``notes``.

    Raises:
        ValueError: a folder is missing or has no usable image, ``repeats`` is below 1, or
            ``caption_extension`` is no ending of texts.
    """
    if repeats < 1:
        raise ValueError(f"Repeats must be at least 1, got {repeats}.")
    extension = caption_ending(caption_extension)
    index = index if index is not None else FileIndex(None)
    options = _Options(extension, all_lines, default_caption, index)
    subsets: list[Subset] = []
    problems: list[Problem] = []
    notes: list[str] = []
    for is_reg, folder_root in ((False, root), (True, reg_root)):
        if folder_root is None:
            continue
        where = absolute(folder_root)
        _check_root(where)
        filled = []
        found = list(picture_folders(where, recursive))
        for folder in found:
            samples, failed = _read_folder(folder, options)
            problems += failed
            notes += [f"{folder.name}: {note}" for note in _notes(folder)]
            if samples:
                times = repeats if folder.repeats is None else folder.repeats
                filled.append(
                    Subset(folder.name, folder.path, folder.class_tokens, times, is_reg, samples)
                )
        problems += unread_folders(found, recursive)
        index.forget_folders(where)
        if not filled:
            raise ValueError(_nothing_found(where, problems))
        subsets += filled
    index.save()
    return Dataset(tuple(subsets), tuple(problems), notes=tuple(notes))


def _check_root(root: Path) -> None:
    if not os.path.isdir(root):  # noqa: PTH112 - Path's own raises for names that cannot be
        state = "is not a folder" if os.path.lexists(root) else "does not exist"
        raise ValueError(f"The dataset folder {root} {state}. Give the path of a folder of images.")


class _Contents(NamedTuple):
    """One folder's file names, and what is known of its images by name and of its masks by stem.

    ``alike`` are the captions of no image, by what some file systems take for the same name;
    ``side`` the image files that belong to others, ``stray`` the masks of no image.
    """

    names: frozenset[str]
    alike: dict[str, str]
    pictures: dict[str, "_Read | str"]
    masks: dict[str, tuple[Path, "_Read | str"]]
    side: dict[str, SideFile]
    stray: tuple[str, ...]


def _read_folder(
    folder: PictureFolder, options: _Options
) -> tuple[tuple[Sample, ...], list[Problem]]:
    if folder.listing.error is not None:
        return (), [Problem(folder.path, explain(folder.listing.error))]
    contents = _contents(folder, options)
    samples: list[Sample] = []
    problems = [
        Problem(folder.path / name, reason) for name, reason in unread_pictures(folder.listing)
    ]
    problems += [
        Problem(folder.path / name, side.reason)
        for name, side in contents.side.items()
        if side.reason
    ]
    if contents.stray:
        reason = f"masks of no image here, not used: {in_sentence(contents.stray)}"
        problems.append(Problem(folder.path / MASK_FOLDER, reason))
    for name in contents.pictures:
        try:
            samples.append(_sample(name, folder, contents, options))
        except ValueError as error:
            problems.append(Problem(folder.path / name, str(error)))
    problems += _unused_texts(folder, samples, contents, options)
    return tuple(samples), problems


def _unused_texts(
    folder: PictureFolder, samples: Sequence[Sample], contents: _Contents, options: _Options
) -> list[Problem]:
    """The text files of which no image makes use; those of images that cannot be read do not count."""
    captions = {sample.caption_path.name for sample in samples}
    unread = [name for name, _ in unread_pictures(folder.listing)]
    used = captions | {stem(name) + options.extension for name in (*contents.pictures, *unread)}
    captioned = len([s for s in samples if s.caption_path.name in contents.names])
    said = unused_texts(contents.names, used, options.extension, len(samples), captioned)
    return [Problem(folder.path, reason) for reason in said]


def _contents(folder: PictureFolder, options: _Options) -> _Contents:
    names, index, side = frozenset(folder.listing.files), options.known, side_pictures(folder)
    wanted = [n for n in picture_names(folder.listing) if n not in side or not side[n].reason]
    pictures = _read_all(folder.path, folder.listing, wanted, index)
    beside = {n: pictures.pop(n) for n in wanted if n in side}
    taken = {stem(name) + options.extension for name in pictures}
    ending = options.extension.lower()
    alike = {same_name(n): n for n in names - taken if n.lower().endswith(ending)}
    masks: dict[str, tuple[Path, _Read | str]] = {
        side[name].owner: (folder.path / name, read) for name, read in beside.items()
    }
    stray: tuple[str, ...] = ()
    if MASK_FOLDER in folder.listing.folders:
        home = folder.path / MASK_FOLDER
        listing = list_folder(home)
        owners = mask_owners(picture_names(listing), image_names(folder.listing))
        stray = tuple(name for name, owner in owners.items() if not owner)
        first = {owner: name for name, owner in reversed(owners.items()) if owner}
        read = _read_all(home, listing, list(first.values()), index)
        masks |= {key: (home / name, read[name]) for key, name in first.items()}
    return _Contents(names, alike, pictures, masks, side, stray)


def _notes(folder: PictureFolder) -> list[str]:
    """What lies in a folder for other programs, for the user to know that it is not used."""
    found = not_used(folder.listing.files, hidden_pictures(folder))
    return [f"not used: {'; '.join(found)}"] if found else []


def _sample(name: str, folder: PictureFolder, contents: _Contents, options: _Options) -> Sample:
    """The sample of one image; a ValueError with the reason if it, its caption or mask is of no use."""
    picture = contents.pictures[name]
    if isinstance(picture, str):
        raise ValueError(picture)
    mask, mask_read = contents.masks.get(stem(name), (None, None))
    if isinstance(mask_read, str):
        raise ValueError(f"its mask cannot be used: {mask_read}")
    text_name = caption_name(name, options.extension, contents.names)
    if text_name not in contents.names:  # a.TXT, or A.txt, which on Windows is a.txt
        text_name = contents.alike.get(same_name(text_name), text_name)
    text_path = folder.path / text_name
    caption = folder.class_tokens or options.default_caption
    if text_name in contents.names:
        caption = read_caption(text_path, options.all_lines)
    return Sample(
        path=folder.path / name,
        size=(picture.facts.width, picture.facts.height),
        stamp=picture.stamp,
        digest=picture.facts.digest,
        caption=caption,
        caption_path=text_path,
        mask=mask,
        mask_digest=mask_read.facts.digest if mask_read else None,
        all_lines=options.all_lines,
    )


def _read_all(
    folder: Path, listing: Listing, names: Sequence[str], index: FileIndex
) -> dict[str, "_Read | str"]:
    """Facts of files by name, from the index or by reading them in threads; or why one is of no use."""
    index.keep_only(folder, names)
    result: dict[str, _Read | str] = dict.fromkeys(names, "")  # in this order
    unknown = []
    place = os.path.join(folder, "")  # noqa: PTH118 - a Path for each of many files takes long
    for name in names:
        facts = index.lookup(place + name, listing.files[name])
        if facts is None:
            unknown.append(name)
        else:
            result[name] = _Read(listing.files[name], facts)
    read = in_order(
        lambda name: _read_picture(folder / name, index),
        unknown,
        name="lora-loop-scan",
        threads=thread_count(_MAX_THREADS),
        ahead=lambda _: _AHEAD,
    )
    with images.whole_files_only(), closing(read):
        result.update(zip(unknown, read, strict=True))
    return result


def _read_picture(path: Path, index: FileIndex) -> "_Read | str":
    read_ns = time.time_ns()
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            data = file.read()
        width, height = images.inspect(path, data)
    except (OSError, ValueError) as error:
        return explain(error)
    stamp = FileStamp.of(found)
    facts = FileFacts(bytes_digest(data), width, height)
    index.remember(path, stamp, facts, read_ns)
    return _Read(stamp, facts)


def _nothing_found(root: Path, problems: Iterable[Problem]) -> str:
    text = (
        f"No usable images ({NAMES}) in {root}, neither directly nor in sub-folders named "
        "<repeats>_<name>. Check the path, rename the sub-folders, or switch recursive on."
    )
    here = [p for p in problems if root in (p.path, *p.path.parents)]
    rows = [f"\n  {problem.path.name}: {problem.reason}" for problem in here[:_LISTED]]
    return text + "".join(rows)
