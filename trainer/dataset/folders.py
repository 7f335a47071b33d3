"""The folders of a dataset: what lies in them, which of them are read, and a stamp of it all. Opens no file."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...base.gc_pause import collection_paused
from ..files.digests import digest
from ..files.index import FileStamp
from .dataset import Problem
from .file_names import CHOICES, SUFFIXES, stem, suffix, why_unread
from .side_files import MASK_FOLDER, SideFile, side_files, side_folder
from .unused_texts import TEXTS

_MOST_REPEATS = 9999  # a larger number is a date or the like


class Listing(NamedTuple):
    """One folder's visible files by name, the names of its sub-folders, and why it cannot be listed.

    ``hidden`` are the names that begin with a dot, some of which macOS makes on foreign disks.
    """

    files: dict[str, FileStamp]
    folders: list[str]
    error: OSError | None = None
    hidden: tuple[str, ...] = ()


class PictureFolder(NamedTuple):
    """A folder that is read. ``name`` is its path below the root, or the root's own name.

    ``repeats`` is None where no folder's name says how many.
    """

    path: Path
    name: str
    class_tokens: str
    repeats: int | None
    listing: Listing


_NOTHING = Listing({}, [])


def list_folder(folder: Path) -> Listing:
    """List a folder; what cannot be looked at (a broken link, a loop) is a file with an empty stamp.

    Pipes and devices are no files: opening one might wait for ever.
    """
    files: dict[str, FileStamp] = {}
    folders: list[str] = []
    hidden: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    hidden.append(entry.name)
                    continue
                try:
                    if entry.is_dir():
                        folders.append(entry.name)
                        continue
                    found = entry.stat()
                    if stat.S_ISREG(found.st_mode):
                        files[entry.name] = FileStamp.of(found)
                except OSError:
                    files[entry.name] = FileStamp(0, 0)
    except OSError as error:
        return Listing({}, [], error)
    return Listing(files, sorted(folders, key=_natural), hidden=tuple(hidden))


def picture_folders(root: Path, recursive: bool = False) -> Iterator[PictureFolder]:
    """The folders that are read, in natural order: ``root`` and those in it named ``<repeats>_<name>``.

    A number alone, directly in ``root``, is kohya's too, without class tokens. With ``recursive`` all
    folders of any depth; one without a number belongs to the numbered one above it. Each is read
    once: links that lead into ``root`` or to a folder around it are not followed. Folders of masks
    and the like and those with 0 repeats are left out.
    """
    seen: set[str] = set()
    waiting = [PictureFolder(root, _text(root.name), "", None, _NOTHING)]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder.path)
        if recursive and real in seen:
            continue
        seen.add(real)
        folder = folder._replace(listing=list_folder(folder.path))
        yield folder
        if recursive or folder.path == root:
            waiting += reversed(list(_sub_folders(folder, root, recursive)))


def _sub_folders(parent: PictureFolder, root: Path, recursive: bool) -> Iterator[PictureFolder]:
    """Those folders in ``parent`` that are read, not listed yet."""
    for name in parent.listing.folders:
        path, number = parent.path / name, _numbered(name, parent.path == root)
        tokens, repeats = parent.class_tokens, parent.repeats
        if number is not None:
            repeats, tokens = number
        elif not recursive:
            continue
        if name == MASK_FOLDER or repeats == 0 or (recursive and _leads_back(path, root)):
            continue
        if number is None and why_side_folder(parent.listing, path):
            continue
        shown = _text(path.relative_to(root).as_posix())
        yield PictureFolder(path, shown, tokens, repeats, _NOTHING)


def _numbered(name: str, alone: bool) -> tuple[int, str] | None:
    """Repeats and class tokens that a folder's name gives, as kohya reads it: what stands before the first
    ``_`` is a number of any script. ``alone``: nothing need follow."""
    head, bar, tokens = name.partition("_")
    try:
        repeats = int(head)
    except ValueError:
        return None
    return (repeats, _text(tokens)) if 0 <= repeats <= _MOST_REPEATS and (bar or alone) else None


def why_side_folder(above: Listing, path: Path) -> str:
    """Why the images of a folder are none to learn, but masks or the like of those ``above``; else ""."""
    return side_folder(path.name, lambda: picture_names(list_folder(path)), picture_names(above))


def _text(name: str) -> str:
    """A name as text, for captions and files; on Linux it may be any bytes."""
    return name.encode("utf-8", "replace").decode()


def _leads_back(path: Path, root: Path) -> bool:
    """Whether ``path`` is a link to a folder inside ``root`` or around it."""
    if not path.is_symlink():
        return False
    target, home = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    return target.is_relative_to(home) or home.is_relative_to(target)


def unread_folders(folders: Sequence[PictureFolder], recursive: bool) -> list[Problem]:
    """Folders that hold images and are not among ``folders``, which are read, and what to do.

    Of those further down than the root, which comes first, only what looks like side files.
    """
    advice = "sub-folder not read; name it <repeats>_<name>, e.g. 1_dog, or switch recursive on"
    read, found = {folder.path for folder in folders}, []
    for folder in folders:
        for path in (folder.path / name for name in folder.listing.folders):
            if path in read or path.name == MASK_FOLDER:
                continue
            reason = why_side_folder(folder.listing, path)
            if (
                not (reason or recursive)
                and folder is folders[0]
                and picture_names(list_folder(path))
            ):
                reason = advice
            found += [Problem(path, reason)] if reason else []
    return found


def hidden_pictures(folder: PictureFolder) -> list[str]:
    """Names of hidden images in a folder, and of hidden folders that hold images."""
    return [
        name
        for name in folder.listing.hidden
        if suffix(name) in SUFFIXES or picture_names(list_folder(folder.path / name))
    ]


def side_pictures(folder: PictureFolder) -> dict[str, SideFile]:
    """The image files of a folder that belong to other images, by name."""
    return side_files(picture_names(folder.listing), image_names(folder.listing), folder.path.name)


def image_names(listing: Listing) -> list[str]:
    """The names of image files of any kind, those that are not read included."""
    return [name for name in listing.files if suffix(name) in SUFFIXES or why_unread(name)]


def picture_names(listing: Listing) -> list[str]:
    """The names of image files, in natural order: 2 before 10."""
    return sorted((name for name in listing.files if suffix(name) in SUFFIXES), key=_natural)


def unread_pictures(listing: Listing) -> Iterator[tuple[str, str]]:
    """Name and reason of each image file of a kind that is not read, unless a copy of it is."""
    reasons = {name: reason for name in listing.files if (reason := why_unread(name))}
    if reasons:
        copies = {stem(name) for name in picture_names(listing)}
        for name in sorted(reasons, key=_natural):
            if stem(name) not in copies:
                yield name, reasons[name]


def _natural(name: str) -> tuple[list[str | int], str]:
    """A sorting key that puts 2 before 10; ties by the exact name."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


@collection_paused()
def folder_stamp(
    root: Path,
    reg_root: Path | None = None,
    caption_extension: str = ".txt",
    recursive: bool = False,
) -> str:
    """A digest of the names, sizes and times of all images, texts, masks and choices; opens no file.

    It changes when one of them is edited, added, removed or renamed. A missing folder has a stamp too.
    """
    caption = f".{caption_extension.lower().lstrip('.')}"
    rows: list[tuple[str | int, ...]] = [(caption,)]
    for place, folder_root in enumerate((root, reg_root)):
        if folder_root is None:
            continue
        where = absolute(folder_root)
        rows.append((f"{place}", str(where), 0, 0))
        for folder in picture_folders(where, recursive):
            for name, listing in _with_masks(folder):
                rows += [
                    (name, file, *stamp)
                    for file, stamp in sorted(listing.files.items())
                    if suffix(file) in {*SUFFIXES, *TEXTS, caption}
                    or file == CHOICES
                    or why_unread(file)
                ]
    return digest(rows)


def _with_masks(folder: PictureFolder) -> Iterator[tuple[str, Listing]]:
    yield folder.name, folder.listing
    if MASK_FOLDER in folder.listing.folders:
        yield f"{folder.name}/{MASK_FOLDER}", list_folder(folder.path / MASK_FOLDER)


def absolute(folder: Path) -> Path:
    """The folder's absolute path, ``~`` replaced by the user's home; links stay."""
    return Path(os.path.expanduser(folder)).absolute()  # noqa: PTH111 - Path's own fails for ~nobody
