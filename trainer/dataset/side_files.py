"""What other programs put beside images: masks, conditioning images, thumbnails, samples, caches.

A name alone says little, so an image counts as another's only where that other lies beside it: without
one, ``cat_mask.png`` is an image. Of the masks only OneTrainer's are used, whose name means nothing
else; all others are listed, with what to do.
"""

import re
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from .file_names import CHOICES, same_name, stem, suffix

MASK_FOLDER = "masks"
"""A folder of this name beside the images holds their masks, each with its image's stem."""

MASK_ENDING = "-masklabel"
"""Behind its image's stem, the name of a mask of OneTrainer: white to learn, black not."""

_ASIDE = "; if it is an image to learn, give it a name of its own"
_KINDS = (
    (re.compile(r"(.+)-condlabel", re.IGNORECASE), "conditioning image"),
    (re.compile(r"(.+)[._-](?:cond|conditioning|control)", re.IGNORECASE), "conditioning image"),
    (re.compile(r"(.+)[._ -]masks?", re.IGNORECASE), "mask"),
    (re.compile(r"masks?[._ -](.+)", re.IGNORECASE), "mask"),
    (re.compile(r"(.+)[._ -](?:thumb|thumbnail|preview)s?(?:_\d+)?", re.IGNORECASE), "thumbnail"),
    (re.compile(r"(?:thumb|thumbnail)s?[._ -](.+)", re.IGNORECASE), "thumbnail"),
)
_FOLDERS = {
    "masks": "masks", "mask": "masks", "masklabel": "masks",
    "cond": "conditioning images", "conditioning": "conditioning images",
    "conditioning_images": "conditioning images", "control": "conditioning images",
    "controls": "conditioning images", "thumb": "thumbnails", "thumbs": "thumbnails",
    "thumbnail": "thumbnails", "thumbnails": "thumbnails", "preview": "previews", "previews": "previews",
}  # fmt: skip
_ARCHIVE = "macosx"
_SAMPLE_FOLDERS = {"sample", "samples", "preview", "previews"}
_SAMPLES = re.compile(
    r".*_(?:e?\d{6})_\d{2}_\d{14}(?:_\d+)?"  # sd-scripts
    r"|.*-training-sample-\d+-\d+-\d+"  # OneTrainer
    r"|\d+__\d{9}_\d+"  # ai-toolkit
)
_OTHER_FILES = {
    ".npz": "caches of another trainer", ".npy": "caches of another trainer",
    ".safetensors": "caches or weights", ".pt": "caches or weights", ".pth": "caches or weights",
    ".json": "metadata", ".jsonl": "metadata", ".csv": "metadata", ".parquet": "metadata",
    ".toml": "metadata", ".yaml": "metadata", ".yml": "metadata",
    ".db": "the system's", ".ini": "the system's",
    ".zip": "archives", ".rar": "archives", ".7z": "archives", ".tar": "archives",
}  # fmt: skip
_SHOWN = 3


class SideFile(NamedTuple):
    """An image file that belongs to another: that one's stem, and why it is not used, or "" for a mask that is."""

    owner: str
    reason: str


def side_files(names: Collection[str], images: Collection[str], folder: str) -> dict[str, SideFile]:
    """Those of ``names`` that belong to one of ``images``, or are samples in a folder of samples.

    ``images`` may hold files that cannot be read: a mask of one of those is a mask all the same.
    """
    owners = {same_name(stem(name)): stem(name) for name in images}
    found = {}
    for name in names:
        own = stem(name)
        if folder.casefold() in _SAMPLE_FOLDERS and _SAMPLES.fullmatch(own):
            found[name] = SideFile("", f"a trainer's sample, not used{_ASIDE}")
        elif own.lower().endswith(MASK_ENDING):
            owner = owners.get(same_name(own[: -len(MASK_ENDING)]))
            if owner is not None:
                found[name] = SideFile(owner, "")
        else:
            for pattern, kind in _KINDS:
                match = pattern.fullmatch(own)
                owner = owners.get(same_name(match[1])) if match else None
                if owner is not None:
                    found[name] = SideFile(owner, _reason(kind, owner))
                    break
    return found


def mask_owners(names: Iterable[str], images: Collection[str]) -> dict[str, str]:
    """For each image file in a folder of masks the stem of its image: its own, or one that it is named after.

    Those of no image have "".
    """
    names, stems = list(names), {stem(image) for image in images}
    side = side_files(names, images, MASK_FOLDER)
    return {
        name: stem(name) if stem(name) in stems else side[name].owner if name in side else ""
        for name in names
    }


def _reason(kind: str, owner: str) -> str:
    use = (
        f"; to use it, put it into a folder named {MASK_FOLDER} as {owner}.png"
        if kind == "mask"
        else ""
    )
    return f"it looks like the {kind} of {owner}, not used{use}{_ASIDE}"


def side_folder(name: str, images: Callable[[], Iterable[str]], above: Collection[str]) -> str:
    """Why a folder's images are none to learn, by its name and those of the images above it; else "".

    ``images`` lists its images; it is called only where the name leaves a doubt.
    """
    key = name.casefold().strip("_-. ")
    if key == _ARCHIVE:
        return "it is what macOS puts into archives, not read"
    if key not in _FOLDERS:
        return ""
    stems = {same_name(stem(image)) for image in images()}
    owners = {same_name(stem(image)) for image in above}
    if not stems or not all(_has_owner(own, owners) for own in stems):
        return ""
    use = f"; to use them, name it {MASK_FOLDER}" if _FOLDERS[key] == "masks" else ""
    return f"it looks like {_FOLDERS[key]} of the images beside it, not read{use}"


def _has_owner(own: str, owners: Collection[str]) -> bool:
    if own in owners or own.removesuffix(MASK_ENDING) in owners:
        return True
    return any((match := pattern.fullmatch(own)) and match[1] in owners for pattern, _ in _KINDS)


def not_used(files: Iterable[str], hidden: Collection[str]) -> list[str]:
    """A part of a sentence for each kind of file that no image uses; texts are not among them."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(files):
        kind = _OTHER_FILES.get(suffix(name))
        if kind is not None and name != CHOICES:
            kinds.setdefault(kind, []).append(name)
    if hidden:
        kinds["hidden"] = sorted(hidden)
    return [f"{_few(names)} ({kind})" for kind, names in kinds.items()]


def _few(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
