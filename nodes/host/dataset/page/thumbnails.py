"""Thumbnails for the page: small JPEGs of images of a dataset, remembered by content."""

from __future__ import annotations

import io

from PIL import Image

from .....trainer.dataset.dataset import Sample
from .....trainer.dataset.images import thumbnail
from .....trainer.dataset.unchanged import read_unchanged
from .....trainer.files.digests import digest
from ...cache_folder import small_store

KIND = "page thumbnails"
SMALL, LARGE = 256, 1024
"""Longest sides in pixels; only the small ones are remembered."""

_RECIPE = 1
_QUALITY = {SMALL: 80, LARGE: 88}


def jpeg_thumbnail(sample: Sample, side: int) -> bytes:
    """The image upright within ``side`` x ``side`` pixels, as JPEG.

    Raises:
        ValueError: the image changed since it was read, or cannot be read.
        CannotWrite: the cache cannot be written.
    """
    if side == LARGE:
        return _made(sample, side)
    key = digest(KIND, _RECIPE, side, sample.digest)
    with small_store() as store:
        known = store.load(key)
        if known is None:
            known = _made(sample, side)
            store.save(KIND, key, known)
    return known


def _made(sample: Sample, side: int) -> bytes:
    data = read_unchanged(sample.path, sample.digest, named=False)
    file = io.BytesIO()
    pixels = thumbnail(sample.path, side, data)
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY[side], optimize=True)
    return file.getvalue()
