"""What the model saw: the images of a run's first step, decoded from the cache, and their exact texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ....base.small_file import TABLE_BYTES, read_small
from ....trainer.batches.plan import BatchItem
from ....trainer.batches.training_data import TrainingData
from ....trainer.cache.latents import CachedDataset
from ....trainer.config.train import TrainConfig
from ....trainer.files.atomic import write_atomically
from ..model.vae import to_image, to_pil, to_png, told_image
from ..previews.grid import one_size
from ..previews.preview_book import open_own
from ..progress import NodeProgress, check_interrupt

FOLDER, CAPTIONS = "seen", "captions.txt"
MOST = 16
"""So many images of a large first step are enough to look at."""

NOTHING_SEEN = "What the model saw is not there:\nconnect a VAE to Train before it begins."


class Seen(NamedTuple):
    """images: [N, H, W, 3], a sentence where none were decoded; captions: a block of text for each image."""

    images: Tensor
    captions: str


def record_seen(
    data: TrainingData, config: TrainConfig, vae: Any, run: Path, progress: NodeProgress
) -> None:
    """Write what the first step shows into the run's folder, unless it is there. Call in inference mode.

    Without a VAE the texts alone; nothing where there are no images.
    """
    if config.slider.is_on:
        return
    plan = next(data.steps(config))
    shown = [item for batch in plan.batches for item in batch][:MOST]
    folder = run / FOLDER
    captions = "\n\n".join(_block(data.dataset, item) for item in shown)
    write_atomically(folder / CAPTIONS, captions.encode("utf-8", "replace"), root=run)
    if vae is None:
        return
    for number, item in enumerate(shown):
        path = folder / f"{number:02}.png"
        if not path.exists() or open_own(path) is None:
            check_interrupt()
            progress.say(f"decoding what the first step shows, {number + 1}/{len(shown)}")
            image = to_png(to_pil(vae.decode(data.latents(item)[None])[0]))
            write_atomically(path, image, root=run)


def read_seen(run: Path) -> Seen:
    """What was recorded in a run's folder."""
    try:
        text = read_small(run / FOLDER / CAPTIONS, TABLE_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):  # it could not be written
        text = ""
    images = [open_own(path) for path in sorted((run / FOLDER).glob("[0-9][0-9].png"))]
    pictures = [image for image in images if image is not None]
    if not pictures:
        return Seen(told_image(NOTHING_SEEN), text)
    return Seen(torch.cat([to_image(np.asarray(p)) for p in one_size(pictures)]), text)


def _block(cached: CachedDataset, shown: BatchItem) -> str:
    """A line that names the sample, and its text below."""
    item = cached.items[shown.item_index]
    width, height = item.bucket
    flipped = ", flipped" if shown.flipped and item.flipped_key else ""
    return f"{item.name}, bucket {width} x {height}{flipped}\n{shown.text}"
