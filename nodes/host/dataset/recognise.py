"""What a tagger sees on images, as plain probabilities: for who compares images and writes no captions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....tagger import Labels, TaggerConfig, read_labels, tag_key
from ....trainer.dataset.dataset import Sample
from ....trainer.files.digests import file_digest
from ....trainer.files.index import FileStamp
from ..cache_folder import small_store
from .one_pass import Reader
from .tag import look_at, tagger_files

SEEN = 0.01
"""Less likely tags count as not there: they are nearly all of the thousands that a tagger knows."""

_KINDS = ("general", "character")


class Recognised(NamedTuple):
    """What a tagger sees on images, by their digest.

    ``tags``: probabilities from `SEEN` on by `tag_key`; ``lost``: why an image has none; ``where``: in words
    what ran; ``known``: every tag that it can tell.
    """

    tags: dict[str, dict[str, float]]
    lost: dict[str, str]
    where: str
    known: frozenset[str]


def recognise(samples: Sequence[Sample], tagger: TaggerConfig, node_id: str | None) -> Recognised:
    """Look at images; what WD14 Tag remembers of them is used, and what is found is remembered for it.

    Raises ValueError where there is no tagger, or it fails.
    """
    known = dict(_tags(read_labels(tagger_files(tagger, node_id).tags)))

    def likely(row: np.ndarray, labels: Labels) -> dict[str, float]:
        return {tag: float(row[place]) for tag, place in known.items() if row[place] >= SEEN}

    with small_store() as store:
        found = look_at(
            samples,
            tagger,
            likely,
            lambda _: nullcontext(Reader(tagger.fast_decode)),
            store,
            node_id,
        )
    return Recognised(found.tags, found.lost, found.where, frozenset(known))


def sample_of(path: Path) -> Sample:
    """An image file by itself as a sample. Raises OSError where it cannot be read."""
    stamp = FileStamp.of(path.stat())
    return Sample(path, (0, 0), stamp, file_digest(path), "", path.with_suffix(".txt"))


def _tags(labels: Labels) -> list[tuple[str, int]]:
    """General tags and characters with their places among the outputs."""
    entries = enumerate(labels.entries)
    return [(tag_key(label.name), place) for place, label in entries if label.category in _KINDS]
