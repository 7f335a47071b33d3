"""A dataset written as a folder of kohya's layout: ``img/10_name`` and ``reg/1_name`` with captions."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...base.inside import inside
from ...base.plain_names import LONGEST, nearest_plain_name, plain_name
from ...base.write_errors import writing
from ..files.atomic import write_atomically
from ..files.digests import digest
from ..files.record import read_record
from .dataset import Dataset, Sample, Subset
from .side_files import MASK_FOLDER
from .unchanged import check_unchanged

MANIFEST = "lora_loop_export.json"
"""In an exported folder: the fingerprint of what was exported."""


@dataclass(frozen=True)
class Exported:
    """Where a dataset was written, and what kohya's folders cannot say of it."""

    folder: Path
    pictures: int
    is_new: bool
    lost: tuple[str, ...] = ()

    def text(self) -> str:
        """A few lines for the user."""
        verb = "written to" if self.is_new else "lie already in"
        lines = [f"{self.pictures} images {verb} {self.folder}"]
        lines += [f"not part of kohya's folders: {what}" for what in self.lost]
        return "\n".join(lines)


def export_kohya(
    dataset: Dataset, root: Path, name: str, on_picture: Callable[[int], None] | None = None
) -> Exported:
    """Copy images and masks and write captions below ``root / name``; the dataset's own files stay.

    A folder that is there is never touched: one with the same export is given back, else the next
    free of ``name_2``, ``name_3`` ... is made, whole or not at all.

    Raises:
        ValueError: the dataset is empty, an image changed since it was read, or ``name`` is no name.
        CannotWrite: the folder cannot be written.
    """
    if not dataset.image_count:
        raise ValueError("The dataset has no images to export.")
    name = plain_name(name.strip(" "), "name a folder")
    check_unchanged(dataset)
    target, is_there = _place(root, name, _identity(dataset))
    if not is_there:
        with writing(target):
            root.mkdir(parents=True, exist_ok=True)
        with (
            writing(target),
            tempfile.TemporaryDirectory(dir=root, prefix=".export-") as unfinished,
        ):
            made = Path(unfinished) / "export"
            _write(dataset, made, on_picture)
            made.rename(inside(target, root))
    return Exported(target, dataset.image_count, not is_there, _lost(dataset))


def _place(root: Path, name: str, fingerprint: str) -> tuple[Path, bool]:
    """The folder to use, and whether this very export lies there."""
    number, target = 1, root / name
    while target.exists():
        known = read_record(target / MANIFEST, lambda part: part["fingerprint"].text())
        if known == fingerprint:
            return target, True
        number += 1
        target = root / f"{name}_{number}"
    return target, False


def _write(dataset: Dataset, folder: Path, on_picture: Callable[[int], None] | None) -> None:
    taken: dict[Path, set[str]] = {}
    done = 0
    for subset in dataset.subsets:
        home = inside(folder / ("reg" if subset.is_reg else "img") / _folder_name(subset), folder)
        home.mkdir(parents=True, exist_ok=True)
        names = taken.setdefault(home, set())
        for sample in subset.samples:
            _write_sample(sample, home, _free_stem(sample.path.stem, names))
            done += 1
            if on_picture is not None:
                on_picture(done)
    manifest = {"fingerprint": _identity(dataset)}
    write_atomically(folder / MANIFEST, json.dumps(manifest).encode("ascii"), root=folder)


def _folder_name(subset: Subset) -> str:
    """kohya's ``<repeats>_<class tokens>``; the folder's own name where it has no class tokens.

    Class tokens are words, and the name of a sub-folder is its path: what no name can hold becomes `_`.
    """
    return nearest_plain_name(f"{subset.repeats}_{subset.class_tokens or subset.name}")


def _free_stem(stem: str, taken: set[str]) -> str:
    """The stem, or the next free ``stem_2``: captions go by stem, and case does not count everywhere."""
    number, free = 1, stem
    while free.casefold() in taken:
        number += 1
        free = f"{os.fsencode(stem)[:LONGEST].decode('utf-8', 'ignore')}_{number}"
    taken.add(free.casefold())
    return free


def _write_sample(sample: Sample, home: Path, stem: str) -> None:
    shutil.copyfile(sample.path, inside(home / (stem + sample.path.suffix), home))
    # Written for an empty caption too: without a file kohya takes the folder's class tokens.
    (home / f"{stem}.txt").write_text(sample.caption + "\n", encoding="utf-8", newline="\n")
    if sample.mask is not None:
        (home / MASK_FOLDER).mkdir(exist_ok=True)
        mask = home / MASK_FOLDER / (stem + sample.mask.suffix)
        shutil.copyfile(sample.mask, inside(mask, home))


def _identity(dataset: Dataset) -> str:
    """A digest of all that is written: contents, and the names of folders and files."""
    names = [
        [
            _folder_name(subset),
            [[s.path.name, s.mask and s.mask.suffix] for s in subset.samples],
        ]
        for subset in dataset.subsets
    ]
    return digest(dataset.fingerprint(), names)


def _lost(dataset: Dataset) -> tuple[str, ...]:
    found = []
    if any(sample.weight != 1.0 for _, sample in dataset.samples()):
        found.append("loss weights")
    if any(s.captions or s.optional_tags for s in dataset.subsets):
        found.append("caption settings and optional tags of subsets")
    if any(s.flip is not None or s.interpolation for s in dataset.subsets):
        found.append("flip and interpolation of subsets")
    return tuple(found)
