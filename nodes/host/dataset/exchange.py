"""Datasets to and from ComfyUI's IMAGE and STRING lists, and into the export folder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ....trainer.dataset.dataset import Dataset
from ....trainer.dataset.export import Exported, export_kohya
from ....trainer.dataset.images import load_rgb
from ....trainer.dataset.unchanged import check_unchanged
from .. import folders
from ..model.vae import to_image
from ..progress import NodeProgress, check_interrupt


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


def export(dataset: Dataset, name: str, node_id: str | None) -> Exported:
    """A copy of the dataset in kohya's layout below the exports folder."""
    bar = NodeProgress(dataset.image_count, node_id)

    def on_picture(done: int) -> None:
        check_interrupt()
        bar.update(done)

    return export_kohya(dataset, folders.exports_root(), name, on_picture)
