"""Captions that another program wrote for a dataset's images, in its order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from .dataset import Dataset, Sample

CaptionPlace = Literal["replace", "append", "prepend", "add a variant"]
"""Where a text goes: in place of the caption, behind it, before it, or on a line of its own."""


def with_texts(
    dataset: Dataset, texts: Sequence[str], place: CaptionPlace, separator: str = ", "
) -> Dataset:
    """The dataset with one text for each image; line breaks in a text become spaces.

    A caption of several lines gets the text on each of them. ``add a variant`` adds a line, unless one
    is the same: the caption is then all lines of its file, which kohya draws one of under wildcards. An
    empty text leaves a caption as it is, and ``replace`` with one empties it.

    Raises:
        ValueError: there are more texts than images, or fewer.
    """
    check_count(dataset, len(texts), "captions")
    folded = iter([" ".join(text.split()) for text in texts])
    return dataset.replace_samples(lambda sample: _changed(sample, next(folded), place, separator))


def check_count(dataset: Dataset, count: int, what: str) -> None:
    """Raises ValueError unless there is one for each image."""
    if count != dataset.image_count:
        raise ValueError(
            f"There are {count} {what} for {dataset.image_count} images. Give one for each, in the "
            "order of the dataset: take the images from Dataset to Images with maximum 0."
        )


def _changed(sample: Sample, text: str, place: CaptionPlace, separator: str) -> Sample:
    if place == "replace":  # the scores of a tagger are those of the tags that go
        return dataclasses.replace(sample, caption=text, tags=(), all_lines=False)
    lines = [line for line in sample.caption.split("\n") if line.strip()]
    if not text:
        return sample
    if place == "add a variant":
        caption = "\n".join(dict.fromkeys([*lines, text]))
        return dataclasses.replace(sample, caption=caption, all_lines=True)
    parts = ((line, text) if place == "append" else (text, line) for line in lines or [""])
    joined = "\n".join(separator.join(filter(None, pair)) for pair in parts)
    return dataclasses.replace(sample, caption=joined)
