"""Text files that lie beside images and are the caption of none: they are told, so that no caption is lost unseen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from .file_names import CAPTION_SUFFIXES, suffix

TEXTS = CAPTION_SUFFIXES | {".nl"}
"""Endings of files that people keep captions in."""

_LISTED = 3


def unused_texts(
    names: Collection[str], used: Collection[str], extension: str, images: int, captioned: int
) -> Iterator[str]:
    """A sentence for each ending of text files of which no image makes use.

    ``names`` are all files of a folder, ``used`` those that are captions, or would be if they were
    there; captions end in ``extension``, and ``captioned`` of ``images`` images have one.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        ending = suffix(name)
        if name not in used and (ending in TEXTS or ending == extension.lower()):
            found[ending].append(name)
    for ending, files in found.items():
        count = f"{len(files)} {ending} file{'s' if files[1:] else ''}"
        listed = ", ".join(files[:_LISTED]) + (" ..." if files[_LISTED:] else "")
        if ending == extension.lower():
            yield f"{count} with the name of no image, not used: {listed}"
        else:
            missing = f"{images - captioned} of {images} images have none"
            yield f"{count} not used ({listed}): captions are {extension} files, and {missing}"
