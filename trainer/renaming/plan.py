"""Which file of a dataset gets which tidy name: one running number for an image and all that belongs to it."""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...base.plain_names import LONGEST, forbidden_letters, is_device
from ...base.shortened import in_lines
from ..dataset.dataset import Dataset
from ..dataset.file_names import same_name, stem
from ..dataset.folders import (
    Listing,
    PictureFolder,
    image_names,
    list_folder,
    picture_names,
    side_pictures,
)
from ..dataset.side_files import MASK_FOLDER, mask_owners
from .journal import Move

_PATH_LENGTH = 259  # what most programs can open on Windows
_FACE_BOX_BARS = 4
_LISTED = 10


@dataclass(frozen=True)
class Naming:
    """``<prefix><number>``, counted from ``start`` in each folder, with at least ``digits`` digits.

    The names must do on every system. ValueError at construction lists everything wrong at once.
    """

    prefix: str = ""
    start: int = 1
    digits: int = 4

    def __post_init__(self) -> None:
        problems = []
        if bad := forbidden_letters(self.prefix):
            problems.append(f"{bad} cannot be in a file name on every system")
        if self.prefix[:1] in (" ", "."):
            problems.append("it must not begin with a space or a dot")
        if self.prefix.count("_") >= _FACE_BOX_BARS:
            problems.append("four _ and a number look like the face box in kohya's names")
        if self.start < 0 or self.digits < 1:
            problems.append("start must be 0 or more and digits 1 or more")
        if problems:
            raise ValueError(f"The prefix {self.prefix!r} will not do: {'; '.join(problems)}.")

    def stem(self, number: int) -> str:
        """The name of an image without its ending."""
        return f"{self.prefix}{number:0{self.digits}}"


class File(NamedTuple):
    """A file of the dataset; ``folder`` is free of links."""

    folder: Path
    name: str


_Group = tuple[Path, str]
"""A folder and a stem: images of one stem share their caption, and so their new stem."""


def plan(dataset: Dataset, naming: Naming) -> tuple[list[Move], list[str]]:
    """A move for every file that gets another name, and a line for each image that keeps its name.

    Raises:
        ValueError: an image is gone, a name will not do, or a file that is not the dataset's is in
            the way.
    """
    homes = real_folders(dataset)
    listings = {
        folder: list_folder(folder)
        for home in dict.fromkeys(homes.values())
        for folder in (home, home / MASK_FOLDER)
    }
    groups = _groups(dataset, homes, listings)
    groups, kept = _apart(groups)
    goals = _goals(groups, naming)
    _check(goals, listings)
    moves = [
        Move(*file, goal, listings[file.folder].files[file.name].size)
        for file, goal in goals.items()
        if goal != file.name
    ]
    return moves, kept


def real_folders(dataset: Dataset) -> dict[Path, Path]:
    """Each image's folder as the dataset has it, and the same without links."""
    parents = dict.fromkeys(sample.path.parent for _, sample in dataset.samples())
    return {parent: Path(os.path.realpath(parent)) for parent in parents}


def ending(name: str, picture_stem: str) -> str:
    """What follows the stem in the name of an image's file, which may be without kohya's face box."""
    short = picture_stem.rsplit("_", _FACE_BOX_BARS)[0]
    return next(name[len(s) :] for s in (picture_stem, short, stem(name)) if name.startswith(s))


def _groups(
    dataset: Dataset, homes: dict[Path, Path], listings: dict[Path, Listing]
) -> dict[_Group, dict[File, str]]:
    """The files of each stem, in the dataset's order, with what follows the stem in their names."""
    groups: dict[_Group, dict[File, str]] = {}
    gone = []
    for _, sample in dataset.samples():
        home, name = homes[sample.path.parent], sample.path.name
        files = groups.setdefault((home, stem(name)), {})
        if name not in listings[home].files:
            gone.append(str(sample.path))
        files[File(home, name)] = name[len(stem(name)) :]
        caption = sample.caption_path.name
        if caption in listings[home].files:
            files[File(home, caption)] = ending(caption, stem(name))
    if gone:
        raise ValueError(_listed("These images are gone; queue again", gone))
    for home in dict.fromkeys(homes.values()):
        stems = {stem(name) for name in picture_names(listings[home])}
        for folder in (home, home / MASK_FOLDER):
            for name in sorted(listings[folder].files):
                owner = _owner(name, stems)
                if (home, owner) in groups:
                    groups[home, owner][File(folder, name)] = name[len(owner) :]
        beside = side_pictures(PictureFolder(home, "", "", None, listings[home]))
        masks = picture_names(listings[home / MASK_FOLDER])
        owners = {File(home, name): side.owner for name, side in beside.items()}
        for name, owner in mask_owners(masks, image_names(listings[home])).items():
            owners[File(home / MASK_FOLDER, name)] = owner
        for file, owner in owners.items():
            if (home, owner) in groups and file.name.startswith(owner):  # mask_a.png stays
                groups[home, owner][file] = file.name[len(owner) :]
    return groups


def _owner(name: str, stems: Collection[str]) -> str:
    """The longest of the stems that the name begins with, up to a dot, or ""."""
    base = stem(name)
    while base not in stems and "." in base:
        base = base.rpartition(".")[0]
    return base if base in stems else ""


def _apart(
    groups: dict[_Group, dict[File, str]],
) -> tuple[dict[_Group, dict[File, str]], list[str]]:
    """The groups that share no file with another one, and a line for each of the others."""
    owners = Counter(file for files in groups.values() for file in files)
    apart, kept = {}, []
    for (home, name), files in groups.items():
        shared = [file.name for file in files if owners[file] > 1]
        if shared:
            kept.append(f"{home / name} keeps its name: others use {', '.join(shared)}, too")
        else:
            apart[home, name] = files
    return apart, kept


def _goals(groups: dict[_Group, dict[File, str]], naming: Naming) -> dict[File, str]:
    counts: defaultdict[Path, int] = defaultdict(lambda: naming.start)
    goals = {}
    for (home, _), files in groups.items():
        name = naming.stem(counts[home])
        counts[home] += 1
        goals |= {file: name + rest for file, rest in files.items()}
    return goals


def _check(goals: dict[File, str], listings: dict[Path, Listing]) -> None:
    bad = [
        f"{file.name} -> {goal}: {reason}"
        for file, goal in goals.items()
        if (reason := _unfit(file, goal))
    ]
    if bad:
        raise ValueError(_listed("These names will not do; choose another prefix", bad))
    taken: defaultdict[Path, set[str]] = defaultdict(set)
    for file, goal in goals.items():
        taken[file.folder].add(same_name(goal))
    in_the_way = [
        str(folder / name)
        for folder, listing in listings.items()
        for name in (*listing.files, *listing.folders)
        if same_name(name) in taken[folder] and File(folder, name) not in goals
    ]
    if in_the_way:
        advice = "These files are in the way and are not the dataset's: move them elsewhere, or choose another prefix or start"
        raise ValueError(_listed(advice, in_the_way))


def _unfit(file: File, goal: str) -> str:
    """Why a name will not do on every system, or ""."""
    if is_device(goal):
        return "Windows has a device of this name"
    if len(os.fsencode(goal)) > LONGEST:  # what follows the stem is a file's own, of any letters
        return f"it is longer than {LONGEST} bytes"
    longest = max(_PATH_LENGTH, len(str(file.folder / file.name)))
    if len(str(file.folder / goal)) > longest:
        return f"its path is longer than {longest} characters"
    return ""


def _listed(what: str, rows: Iterable[str]) -> str:
    return "\n  ".join([f"{what}. Nothing was renamed.", *in_lines(list(rows), _LISTED)])
