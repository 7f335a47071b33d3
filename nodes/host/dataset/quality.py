"""What Curate Dataset knows of each image: measured once, in threads, and remembered by content."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....base.image_file import explain
from ....base.read_ahead import in_order, thread_count
from ....tagger import HASH_BITS, MEASURED_PIXELS, Quality, assess
from ....tagger.images.borders import Bars
from ....tagger.images.duplicates import THUMBNAIL
from ....tagger.images.quality import at_measured_size
from ....trainer.dataset.dataset import Sample
from ....trainer.dataset.images import load_rgb
from ....trainer.dataset.unchanged import check_bytes
from ....trainer.files.digests import bytes_digest, digest
from ....trainer.files.index import FileStamp
from ....trainer.files.small_store import SmallStore
from ..progress import NodeProgress, check_interrupt

KIND = "quality"
RECIPE = 1
"""Raised when a measure changes, so that older numbers are not used."""

_MAX_THREADS = 8


class Measured(NamedTuple):
    """The quality of an image, and a name of its pixels that file format and metadata do not change."""

    quality: Quality
    pixels: str


def measure_pictures(
    samples: Iterable[Sample], store: SmallStore, node_id: str | None = None
) -> dict[Path, Measured | str]:
    """Each image's measures by path, or why it cannot be used. What the store has is not decoded again.

    Raises:
        ValueError: an image changed since the dataset was read; names it.
    """
    pending = {sample.path: sample for sample in samples}
    bar = NodeProgress(len(pending), node_id)
    found: dict[Path, Measured | str] = {}
    measured = in_order(
        partial(_measured, store=store),
        pending.values(),
        name="lora-loop-measure",
        threads=thread_count(_MAX_THREADS),
    )
    with closing(measured) as results:
        for path, result in zip(pending, results, strict=True):
            check_interrupt()
            found[path] = result
            bar.update(len(found), f"measured {len(found)}/{len(pending)}: {path.name}")
    return found


def _measured(sample: Sample, store: SmallStore) -> Measured | str:
    key = digest(KIND, RECIPE, sample.digest)
    try:
        if FileStamp.of(sample.path.stat()) == sample.stamp:
            known = store.load(key)
            if known is not None:
                return _from_bytes(known)
        data = sample.path.read_bytes()
    except OSError as error:
        return explain(error)
    try:
        shown = load_rgb(sample.path, data=data, at_least=MEASURED_PIXELS)
    except ValueError as error:
        return str(error)
    check_bytes(data, sample.digest, str(sample.path))
    picture = at_measured_size(shown)
    pixels = digest(bytes_digest(picture.tobytes()), sample.size)
    measured = Measured(assess(picture, sample.size), pixels)
    store.save(KIND, key, _to_bytes(measured))
    return measured


_RECORD = np.dtype(
    [
        ("blur", "<f8"),
        ("bars", "<i4", 4),
        ("hash", "?", HASH_BITS),
        ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL, 3)),
        ("pixels", "S32"),
    ]
)


def _to_bytes(measured: Measured) -> bytes:
    return np.array((*measured.quality, measured.pixels.encode("ascii")), _RECORD).tobytes()


def _from_bytes(data: bytes) -> Measured:
    blur, bars, bits, thumbnail, pixels = np.frombuffer(data, _RECORD)[0]
    quality = Quality(float(blur), Bars(*map(int, bars)), bits, thumbnail)
    return Measured(quality, pixels.decode("ascii"))
