"""What a person decided about the images of a folder: which are left out, and what the others weigh.

It lies in a file of ours beside the images, as captions do. An entry names its image twice, by name and by contents,
so that it stays with an image that is edited or renamed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ...base.shortened import in_sentence
from ...base.small_file import read_json
from ..files.atomic import write_atomically
from .dataset import Dataset, Sample
from .file_names import CHOICES

MOST_WEIGHT = 100.0

_FORMAT = 1
_LISTED = 3
_KEYS = {"name", "digest", "left_out", "weight"}
_REPAIR = "Repair it, or take it away to train on all images alike."


class Choice(NamedTuple):
    """About one image. ``weight`` multiplies its loss, 0 or more."""

    left_out: bool = False
    weight: float = 1.0


class Entry(NamedTuple):
    """A line of the file: the image's name and digest as they were, and what was decided."""

    name: str
    digest: str
    choice: Choice


def check_weight(weight: Any) -> float:
    """A weight that an image may have. ValueError for any other."""
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ValueError(f"the weight {weight!r} is no number")
    if not 0 <= weight <= MOST_WEIGHT:  # NaN as well
        raise ValueError(f"the weight {str(weight)[:20]} does not lie in 0..{MOST_WEIGHT:g}")
    return float(weight)


def read_choices(folder: Path) -> tuple[Entry, ...]:
    """What was decided about images of a folder; nothing where there is no file.

    Raises:
        ValueError: the file cannot be read, is damaged, or of a later format; says what to do.
    """
    path = folder / CHOICES
    try:
        found = read_json(path)
        if not isinstance(found, dict) or not isinstance(found.get("images"), list):
            raise ValueError('it is no {"format": 1, "images": [...]}')
        if found.get("format") != _FORMAT:
            raise ValueError(f"its format is {found.get('format')!r} where {_FORMAT} is known")
        return tuple(map(_entry, found["images"]))
    except FileNotFoundError:
        if not path.is_symlink():
            return ()
        raise ValueError(f"{path} is a link to a file that is not there. {_REPAIR}") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{path}, which says what images are left out or weighed, cannot be used: {why}. {_REPAIR}"
        ) from error


def _entry(row: Any) -> Entry:
    name, digest = (row.get("name"), row.get("digest")) if isinstance(row, dict) else (None, None)
    left_out = row.get("left_out", False) if isinstance(row, dict) else None
    if not (isinstance(name, str) and isinstance(digest, str) and isinstance(left_out, bool)):
        raise ValueError(f"{str(row)[:100]} is no entry")
    if unknown := sorted(map(str, row.keys() - _KEYS)):
        raise ValueError(f"{in_sentence(unknown, _LISTED)} of {name[:100]} is not known")
    return Entry(name, digest, Choice(left_out, check_weight(row.get("weight", 1.0))))


def assigned(entries: Sequence[Entry], samples: Iterable[Sample]) -> dict[Path, Choice]:
    """What was decided about each of the images of one folder that an entry belongs to, by path.

    An entry belongs to the image with both its name and contents, else to one of the same contents
    (it was renamed), else to the one of its name (it was edited).
    """
    found, _ = _matched(entries, samples)
    return found


def _matched(
    entries: Sequence[Entry], samples: Iterable[Sample]
) -> tuple[dict[Path, Choice], list[Entry]]:
    """The same, and the entries of no image."""
    free = {sample.path: sample for sample in samples}
    found: dict[Path, Choice] = {}
    waiting = list(entries)
    ways: tuple[Callable[[str, str], Hashable], ...] = (
        lambda name, digest: (name, digest),
        lambda name, digest: digest,
        lambda name, digest: name,
    )
    for key in ways:
        alike: dict[Hashable, list[Path]] = {}
        for path, sample in reversed(free.items()):
            alike.setdefault(key(path.name, sample.digest), []).append(path)
        rest = []
        for entry in waiting:
            if paths := alike.get(key(entry.name, entry.digest)):
                path = paths.pop()
                found[path] = entry.choice
                del free[path]
            else:
                rest.append(entry)
        waiting = rest
    return found, waiting


def by_folder(dataset: Dataset) -> dict[Path, dict[Path, Sample]]:
    """The images of each folder, by path, each once."""
    found: dict[Path, dict[Path, Sample]] = {}
    for subset, sample in dataset.samples():
        found.setdefault(subset.root, {})[sample.path] = sample
    return found


def read_all(dataset: Dataset) -> dict[Path, Choice]:
    """What was decided about the images of a dataset, by path, as the files of its folders say.

    Raises:
        ValueError: as `read_choices`.
    """
    found: dict[Path, Choice] = {}
    for folder, samples in by_folder(dataset).items():
        found |= assigned(read_choices(folder), samples.values())
    return found


def with_choices(dataset: Dataset, choices: Mapping[Path, Choice]) -> Dataset:
    """The dataset as it was decided, with a note on what was left out or weighed.

    Raises:
        ValueError: no image to train on is left.
    """
    if not choices:
        return dataset

    def change(sample: Sample) -> Sample | None:
        choice = choices.get(sample.path, Choice())
        if choice.left_out:
            return None
        return replace(sample, weight=sample.weight * choice.weight)

    kept = dataset.replace_samples(change)
    if all(subset.is_reg for subset in kept.subsets):
        raise ValueError(
            f"All images of {dataset.subsets[0].root} are left out by {CHOICES}. Take some in again on "
            "the Dataset page, or take the file away."
        )
    return replace(kept, notes=(*kept.notes, *_notes(choices)))


def _notes(choices: Mapping[Path, Choice]) -> Iterator[str]:
    kinds = {
        "left out": [path.name for path, choice in choices.items() if choice.left_out],
        "weighed": [
            f"{path.name} ({choice.weight:g})"
            for path, choice in choices.items()
            if choice.weight != 1 and not choice.left_out
        ],
    }
    for kind, names in kinds.items():
        if names:
            yield f"{len(names)} {kind} by {CHOICES}: {in_sentence(names, _LISTED)}"


def check_no_link(folder: Path) -> None:
    """ValueError where the file of a folder is a link: writing would put a file in its place."""
    path = folder / CHOICES
    if path.is_symlink():
        raise ValueError(f"{path} is a link, and is not written. Put the file itself there.")


def write_choices(folder: Path, samples: Iterable[Sample], choices: Mapping[Path, Choice]) -> None:
    """Write what is decided about the images of a folder; entries of images that are not among these stay.

    Raises:
        ValueError: the file that is there cannot be used.
        CannotWrite: it cannot be written; the one that is there stays.
    """
    check_no_link(folder)
    samples = list(samples)
    _, others = _matched(read_choices(folder), samples)
    made = [
        Entry(sample.path.name, sample.digest, choices[sample.path])
        for sample in samples
        if choices.get(sample.path, Choice()) != Choice()
    ]
    table = {"format": _FORMAT, "images": [_row(entry) for entry in (*made, *others)]}
    data = json.dumps(table, indent=1).encode("ascii")
    write_atomically(folder / CHOICES, data, root=folder, durable=True)


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"name": entry.name, "digest": entry.digest}
    if entry.choice.left_out:
        row["left_out"] = True
    if entry.choice.weight != 1:
        row["weight"] = entry.choice.weight
    return row
