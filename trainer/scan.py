"""A folder of pictures on disk to a Dataset: any folder, or kohya's numbered sub-folders."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from . import images
from .captions import caption_path, read_caption
from .dataset import Dataset, FileStamp, Problem, Sample, Subset
from .digests import bytes_digest
from .file_index import FileFacts, FileIndex
from .folders import (
    MASK_FOLDER,
    Listing,
    PictureFolder,
    folder_stamp,
    list_folder,
    picture_folders,
    picture_names,
)

__all__ = ["folder_stamp", "scan_folder"]

_MAX_THREADS = 8
_LISTED = 5


class _Read(NamedTuple):
    """A picture file that was read or known: its stat and facts."""

    stamp: FileStamp
    facts: FileFacts


def scan_folder(
    root: Path,
    *,
    reg_root: Path | None = None,
    caption_extension: str = ".txt",
    repeats: int = 1,
    default_caption: str = "",
    index: FileIndex | None = None,
) -> Dataset:
    """Read the pictures and captions of ``root``, and regularisation pictures of ``reg_root``.

    Where sub-folders named ``<repeats>_<name>`` exist each becomes a subset as in kohya (kohya.md
    1.1), its name the caption of pictures that have none. Pictures directly in ``root`` are a subset
    with ``repeats``. Files that cannot be used are listed in ``problems``.

    Raises:
        ValueError: a folder is missing or has no usable picture, or ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"Repeats must be at least 1, got {repeats}.")
    extension = caption_extension if caption_extension[:1] == "." else f".{caption_extension}"
    index = index if index is not None else FileIndex(None)
    subsets: list[Subset] = []
    problems: list[Problem] = []
    for is_reg, folder_root in ((False, root), (True, reg_root)):
        if folder_root is None:
            continue
        where = Path(folder_root).expanduser().absolute()
        found, ignored = picture_folders(where, repeats, is_reg)
        problems += ignored
        filled = []
        for folder in found:
            subset, failed = _read_folder(folder, extension, default_caption, index)
            problems += failed
            filled += [subset] if subset.samples else []
        if not filled:
            raise ValueError(_nothing_found(where, problems))
        subsets += filled
    index.save()
    return Dataset(tuple(subsets), tuple(problems))


class _Contents(NamedTuple):
    """One folder's file names, its masks by stem, and what is known of pictures and masks."""

    names: frozenset[str]
    masks: dict[str, Path]
    read: dict[Path, "_Read | str"]


def _read_folder(
    folder: PictureFolder, extension: str, default_caption: str, index: FileIndex
) -> tuple[Subset, list[Problem]]:
    subset = Subset(
        folder.path.name, folder.path, folder.class_tokens, folder.repeats, folder.is_reg, ()
    )
    try:
        listing = list_folder(folder.path)
        contents = _contents(folder.path, listing, index)
    except OSError as error:
        return subset, [Problem(folder.path, images.explain(error))]
    samples: list[Sample] = []
    problems: list[Problem] = []
    uncaptioned = folder.class_tokens or default_caption
    for name in picture_names(listing):
        try:
            samples.append(_sample(folder.path / name, contents, extension, uncaptioned))
        except (ValueError, OSError) as error:
            problems.append(Problem(folder.path / name, images.explain(error)))
    return replace(subset, samples=tuple(samples)), problems


def _contents(folder: Path, listing: Listing, index: FileIndex) -> _Contents:
    stamps = {folder / name: listing.files[name] for name in picture_names(listing)}
    masks: dict[str, Path] = {}
    if MASK_FOLDER in listing.folders:
        mask_listing = list_folder(folder / MASK_FOLDER)
        for name in picture_names(mask_listing):
            path = folder / MASK_FOLDER / name
            if masks.setdefault(path.stem, path) == path:
                stamps[path] = mask_listing.files[name]
    return _Contents(frozenset(listing.files), masks, _read_all(stamps, index))


def _sample(path: Path, contents: _Contents, extension: str, uncaptioned: str) -> Sample:
    """The sample of one picture; a ValueError with the reason if it, its caption or mask is of no use."""
    picture = contents.read[path]
    if isinstance(picture, str):
        raise ValueError(picture)
    mask = contents.masks.get(path.stem)
    mask_read = contents.read[mask] if mask else None
    if isinstance(mask_read, str):
        raise ValueError(f"its mask cannot be used: {mask_read}")
    text_path = caption_path(path, extension, contents.names)
    captioned = text_path.name in contents.names
    return Sample(
        path=path,
        size=(picture.facts.width, picture.facts.height),
        stamp=picture.stamp,
        digest=picture.facts.digest,
        caption=read_caption(text_path) if captioned else uncaptioned,
        caption_path=text_path,
        mask=mask,
        mask_digest=mask_read.facts.digest if mask_read else None,
    )


def _read_all(stamps: dict[Path, FileStamp], index: FileIndex) -> dict[Path, "_Read | str"]:
    """Facts of every file, from the index or by reading it in threads; or why it is of no use."""
    result: dict[Path, _Read | str] = {}
    unknown = []
    for path, stamp in stamps.items():
        facts = index.lookup(path, stamp)
        if facts is None:
            unknown.append(path)
        else:
            result[path] = _Read(stamp, facts)
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        result.update(
            zip(unknown, pool.map(lambda p: _read_picture(p, index), unknown), strict=True)
        )
    return result


def _read_picture(path: Path, index: FileIndex) -> "_Read | str":
    read_ns = time.time_ns()
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            data = file.read()
        width, height = images.inspect(path, data)
    except (OSError, ValueError) as error:
        return images.explain(error)
    stamp = FileStamp(stat.st_size, stat.st_mtime_ns)
    facts = FileFacts(bytes_digest(data), width, height)
    index.remember(path, stamp, facts, read_ns)
    return _Read(stamp, facts)


def _nothing_found(root: Path, problems: list[Problem]) -> str:
    text = (
        f"No usable pictures (png, jpg, jpeg, webp, bmp) in {root}, neither directly nor in "
        "sub-folders named <repeats>_<name>. Check the path, or rename the sub-folders."
    )
    here = [p for p in problems if root in (p.path, *p.path.parents)]
    rows = [f"\n  {problem.path.name}: {problem.reason}" for problem in here[:_LISTED]]
    return text + "".join(rows)
