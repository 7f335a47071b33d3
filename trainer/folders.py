"""The folders of a dataset: what lies in them, which become subsets, and a stamp of it all. Opens no file."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .dataset import FileStamp, Problem
from .digests import digest
from .images import SUFFIXES

MASK_FOLDER = "masks"
"""A folder of this name beside the pictures holds their masks, each with its picture's stem."""

_NUMBERED = re.compile(r"([0-9]+)_(.*)", re.DOTALL)


class Listing(NamedTuple):
    """One folder's visible files by name, and the names of its sub-folders."""

    files: dict[str, FileStamp]
    folders: list[str]


class PictureFolder(NamedTuple):
    """A folder of pictures that becomes a subset."""

    path: Path
    class_tokens: str
    repeats: int
    is_reg: bool


def list_folder(folder: Path) -> Listing:
    """List a folder; what cannot be looked at (a broken link, a loop) is a file with an empty stamp.

    Raises:
        OSError: the folder is missing or may not be listed.
    """
    files: dict[str, FileStamp] = {}
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    folders.append(entry.name)
                    continue
                stat = entry.stat()
                files[entry.name] = FileStamp(stat.st_size, stat.st_mtime_ns)
            except OSError:
                files[entry.name] = FileStamp(0, 0)
    return Listing(files, folders)


def _list_or_nothing(folder: Path) -> Listing:
    try:
        return list_folder(folder)
    except OSError:
        return Listing({}, [])


def picture_folders(
    root: Path, repeats: int, is_reg: bool
) -> tuple[list[PictureFolder], list[Problem]]:
    """The folders of ``root`` that become subsets, and sub-folders with pictures that do not.

    Raises:
        ValueError: ``root`` is missing, no folder, or cannot be listed.
    """
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise ValueError(
            f"The dataset folder {root} {state}. Give the path of a folder of pictures."
        )
    try:
        top = list_folder(root)
    except OSError as error:
        raise ValueError(f"The dataset folder {root} cannot be read: {error}.") from error
    found = [PictureFolder(root, "", repeats, is_reg)] if picture_names(top) else []
    ignored = []
    for name in sorted(top.folders, key=_natural):
        match = _NUMBERED.fullmatch(name)
        if match and int(match[1]) >= 1:
            found.append(PictureFolder(root / name, match[2], int(match[1]), is_reg))
        elif name != MASK_FOLDER and picture_names(_list_or_nothing(root / name)):
            ignored.append(
                Problem(root / name, "sub-folder not read; name it <repeats>_<name>, e.g. 1_dog")
            )
    return found, ignored


def picture_names(listing: Listing) -> list[str]:
    """The names of picture files, in natural order: 2 before 10."""
    return sorted((name for name in listing.files if _suffix(name) in SUFFIXES), key=_natural)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path per file is ten times slower


def _natural(name: str) -> tuple[list[str | int], str]:
    """A sorting key that puts 2 before 10; ties by the exact name."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def folder_stamp(root: Path, reg_root: Path | None = None, caption_extension: str = ".txt") -> str:
    """A digest of the names, sizes and times of all pictures, captions and masks; opens no file.

    It changes when one of them is edited, added, removed or renamed. A missing folder has a stamp too.
    """
    suffixes = SUFFIXES | {f".{caption_extension.lower().lstrip('.')}"}
    rows: list[tuple[str | int, ...]] = []
    for place, folder_root in enumerate((root, reg_root)):
        if folder_root is None:
            continue
        where = Path(folder_root).expanduser().absolute()
        rows.append((f"{place}", str(where), 0, 0))
        for name, listing in _stamped_folders(where):
            rows += [
                (name, file, *stamp)
                for file, stamp in sorted(listing.files.items())
                if _suffix(file) in suffixes
            ]
    return digest(rows)


def _stamped_folders(root: Path) -> Iterator[tuple[str, Listing]]:
    """The folders that a scan would read, by relative name: the root, numbered ones, and their masks."""
    top = _list_or_nothing(root)
    yield "", top
    for name in sorted(top.folders):
        if name == MASK_FOLDER:
            yield name, _list_or_nothing(root / name)
        elif _NUMBERED.fullmatch(name):
            listing = _list_or_nothing(root / name)
            yield name, listing
            if MASK_FOLDER in listing.folders:
                yield f"{name}/{MASK_FOLDER}", _list_or_nothing(root / name / MASK_FOLDER)
