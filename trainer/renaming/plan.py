"""Which file of a dataset gets which tidy name: one running number for an image and all that belongs to it."""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...base.plain_names import LONGEST, forbidden_letters, is_device
from ...base.shortened import in_lines, in_sentence
from ..dataset.dataset import Dataset
from ..dataset.file_names import is_caption, is_picture, same_name, stem
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
    groups, others = _groups(dataset, homes, listings)
    groups, kept = _apart(groups)
    if others:
        kept.append(f"{len(others)} file(s) of other kinds keep their names: {in_sentence(others)}")
    goals = _goals(groups, naming)
    _check(goals, listings)
    _check_links(goals)
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
) -> tuple[dict[_Group, dict[File, str]], list[str]]:
    """The images, captions and masks of each stem, in the dataset's order, with what follows the stem in
    their names; and the names of the other files of these stems."""
    groups, others = _own_files(dataset, homes, listings), []
    for home in dict.fromkeys(homes.values()):
        stems = {stem(name) for name in picture_names(listings[home])}
        for folder in (home, home / MASK_FOLDER):
            for name in sorted(listings[folder].files):
                owner = _owner(name, stems)
                if (home, owner) not in groups:
                    continue
                if is_picture(name) or (folder == home and is_caption(name)):
                    groups[home, owner][File(folder, name)] = name[len(owner) :]
                elif File(folder, name) not in groups[home, owner]:
                    others.append(name)
        for file, owner in _side_owners(home, listings).items():
            if (home, owner) in groups:
                groups[home, owner][file] = file.name[len(owner) :]
    return groups, others


def _own_files(
    dataset: Dataset, homes: dict[Path, Path], listings: dict[Path, Listing]
) -> dict[_Group, dict[File, str]]:
    """Each image with its caption, by its folder and stem. ValueError where one is gone."""
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
    return groups


def _side_owners(home: Path, listings: dict[Path, Listing]) -> dict[File, str]:
    """Masks and the like that are named in another program's way, with the stem of their image."""
    beside = side_pictures(PictureFolder(home, "", "", None, listings[home]))
    masks = picture_names(listings[home / MASK_FOLDER])
    owners = {File(home, name): side.owner for name, side in beside.items()}
    for name, owner in mask_owners(masks, image_names(listings[home])).items():
        owners[File(home / MASK_FOLDER, name)] = owner
    return {f: owner for f, owner in owners.items() if f.name.startswith(owner)}  # mask_a.png stays


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
        foreign = [
            file.name for file in files if not (is_picture(file.name) or is_caption(file.name))
        ]
        if shared:
            kept.append(f"{home / name} keeps its name: others use {', '.join(shared)}, too")
        elif foreign:
            kept.append(
                f"{home / name} keeps its name: {foreign[0]} does not end like a caption file"
            )
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
        if is_picture(goal) and same_name(stem(goal)) != same_name(stem(file.name)):
            taken[file.folder].add(same_name(stem(goal)))
            taken[file.folder / MASK_FOLDER].add(same_name(stem(goal)))
    in_the_way = [
        str(folder / name)
        for folder, listing in listings.items()
        for name in (*listing.files, *listing.folders)
        if File(folder, name) not in goals and not taken[folder].isdisjoint(_parts(name))
    ]
    if in_the_way:
        advice = (
            "These files are in the way, or would come to stand beside another image, and are no images, "
            "captions or masks of the dataset: move them elsewhere, or choose another prefix or start"
        )
        raise ValueError(_listed(advice, in_the_way))


def _parts(name: str) -> Iterator[str]:
    """A name, and its beginnings up to each dot: of the images that it could belong to."""
    name = same_name(name)
    while name:
        yield name
        name = name.rpartition(".")[0]


def _check_links(goals: dict[File, str]) -> None:
    """Refuse where a file is a link to one that gets another name: it would lead nowhere, or elsewhere."""
    moved = {str(file.folder / file.name) for file, goal in goals.items() if goal != file.name}
    lost = []
    for file in goals:
        path = file.folder / file.name
        if path.is_symlink():
            first = file.folder / path.readlink()
            first = Path(os.path.realpath(first.parent)) / first.name
            if not moved.isdisjoint((str(first), os.path.realpath(path))):
                lost.append(str(path))
    if lost:
        raise ValueError(_listed("These are links to files that would get other names", lost))


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
