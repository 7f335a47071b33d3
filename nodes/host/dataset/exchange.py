"""Datasets to and from ComfyUI's IMAGE, MASK and STRING lists, and into the export folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ....base.shortened import in_lines, in_sentence
from ....trainer.dataset.dataset import Dataset
from ....trainer.dataset.export import Exported, export_kohya
from ....trainer.dataset.given_captions import CaptionPlace, with_texts
from ....trainer.dataset.given_masks import with_masks
from ....trainer.dataset.images import load_rgb
from ....trainer.dataset.unchanged import check_unchanged
from .. import folders
from ..made import SAVED_IMAGES
from ..model.vae import to_image
from ..progress import NodeProgress, check_interrupt

SHOWN = 5
"""Captions in a report."""


def arrays_of(images: list[Tensor]) -> Iterator[np.ndarray]:
    """Every image of a list of IMAGE batches [N, H, W, C] float 0..1, as uint8 [H, W, C]."""
    for batch in images:
        for picture in batch:
            yield (picture.float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def images_of(
    dataset: Dataset, first: int, maximum: int, node_id: str | None
) -> tuple[list[Tensor], list[str]]:
    """IMAGEs [1, H, W, 3] and captions of the images from ``first`` (from 1) on; 0: all of them.

    Raises:
        ValueError: there is no such image, or one changed or cannot be read.
    """
    stop = first - 1 + maximum if maximum else None
    samples = [sample for _, sample in islice(dataset.samples(), first - 1, stop)]
    if not samples:
        raise ValueError(
            f"The dataset has {dataset.image_count} images; there is no image {first}."
        )
    chosen = dataset.without({s.path for _, s in dataset.samples()} - {s.path for s in samples})
    check_unchanged(chosen)
    bar = NodeProgress(len(samples), node_id)
    images = []
    for done, sample in enumerate(samples, 1):
        check_interrupt()
        images.append(to_image(load_rgb(sample.path)))
        bar.update(done)
    return images, [sample.caption for sample in samples]


def set_captions(
    dataset: Dataset, texts: Sequence[str], mode: CaptionPlace, separator: str
) -> tuple[Dataset, str]:
    """The dataset with these captions, and what changed, in words. Raises ValueError as `with_texts`."""
    changed = with_texts(dataset, texts, mode, separator)
    pairs = zip(dataset.samples(), changed.samples(), strict=True)
    rows = [
        f"{new.path.name}: {new.caption}"
        for (_, old), (_, new) in pairs
        if old.caption != new.caption
    ]
    lines = [f"{len(rows)} of {dataset.image_count} captions changed ({mode})"]
    empty = sum(not text.strip() for text in texts)
    if empty:
        lines.append(f"{empty} of the texts are empty")
    return changed, "\n".join([*lines, *(f"  {row}" for row in in_lines(rows, SHOWN, "more"))])


def set_masks(
    dataset: Dataset, masks: list[Tensor], blur: float, invert: bool
) -> tuple[Dataset, str]:
    """The dataset with these masks, [H, W] or [N, H, W] each, kept below the folder of pictures, and a report.

    Raises ValueError as `with_masks`.
    """
    check_unchanged(dataset)
    single = [
        mask.float().cpu().numpy()
        for batch in masks
        for mask in (batch if batch.ndim > 2 else [batch])
    ]
    masked, empty, full = with_masks(dataset, single, folders.pictures_root(), blur, invert)
    files = [sample.mask for _, sample in masked.samples() if sample.mask is not None]
    SAVED_IMAGES.add(masked.fingerprint(), files)
    lines = [f"{len(single)} masks set; they are used when masked is on in Noise and Loss Settings"]
    if empty:
        lines.append(f"{len(empty)} are black: these images teach nothing: {in_sentence(empty)}")
    if full:
        lines.append(f"{len(full)} are white: all of these images counts: {in_sentence(full)}")
    return masked, "\n".join(lines)


def export(dataset: Dataset, name: str, node_id: str | None) -> Exported:
    """A copy of the dataset in kohya's layout below the exports folder."""
    bar = NodeProgress(dataset.image_count, node_id)

    def on_picture(done: int) -> None:
        check_interrupt()
        bar.update(done)

    return export_kohya(dataset, folders.exports_root(), name, on_picture)
