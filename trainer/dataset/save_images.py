"""Images that exist only in memory made into files, so that a dataset can hold them."""

import io
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image

from ...base.plain_names import plain_name
from ..files.atomic import write_atomically
from ..files.digests import bytes_digest
from ..files.index import FileStamp
from .dataset import Dataset, Sample, Subset


def dataset_of(
    pictures: Iterable[np.ndarray],
    captions: Sequence[str],
    folder: Path,
    name: str,
    repeats: int = 1,
) -> Dataset:
    """A dataset of one subset from uint8 images [H, W, 1, 3 or 4] and their captions.

    Each image becomes a PNG below ``folder`` that is named by its contents, so the same image is
    written once. One caption stands for all images, none for empty captions.

    Raises:
        ValueError: there are no images, captions of another number, or ``name`` is no name.
    """
    if name:  # Export Dataset makes a folder of it
        plain_name(name, "name a folder")
    shown = list(pictures)
    if not shown:
        raise ValueError("There are no images. Connect an IMAGE output that has some.")
    if len(captions) not in (0, 1, len(shown)):
        raise ValueError(
            f"There are {len(captions)} captions for {len(shown)} images. Give one for each, one "
            "for all, or none."
        )
    texts = captions if len(captions) == len(shown) else repeat(next(iter(captions), ""))
    samples = tuple(_sample(array, text, folder) for array, text in zip(shown, texts, strict=False))
    return Dataset((Subset(name, folder, "", repeats, False, samples),))


def save_png(pixels: np.ndarray, folder: Path) -> tuple[Path, str]:
    """uint8 [H, W] or [H, W, 1, 3 or 4] as a PNG that is named by its contents; its path and digest.

    One that is there is not written again.
    """
    grey = pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", compress_level=1)
    digest = bytes_digest(buffer.getvalue())
    path = folder / f"{digest}.png"
    if not path.exists():
        write_atomically(path, buffer.getvalue(), root=folder)
    return path, digest


def _sample(array: np.ndarray, caption: str, folder: Path) -> Sample:
    height, width = array.shape[:2]
    path, digest = save_png(array, folder)
    return Sample(
        path=path,
        size=(width, height),
        stamp=FileStamp.of(path.stat()),
        digest=digest,
        caption=caption,
        caption_path=path.with_suffix(".txt"),
    )
