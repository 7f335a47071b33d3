"""Images in their buckets to latents on disk: batches through the VAE, each latent checked and saved at once."""

import logging
from collections import defaultdict
from collections.abc import Callable
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from ..files.digests import digest
from ..files.store import Store
from ..sdxl.buckets import Size
from ..sdxl.constants import LATENT_CHANNELS, LATENT_PIXELS
from .decoding import Job, batch_of

log = logging.getLogger(__name__)

KIND = "latents"
"""The store's kind for latents; each file holds one tensor ``latents`` [4, h, w], float32, unscaled, and a
second one, ``deviation``, of this shape where samples are to be drawn."""

Encode = Callable[[np.ndarray], Tensor]
"""A VAE: uint8 RGB [N, H, W, 3] to unscaled latents [N, 4, H/8, W/8], or [N, 8, H/8, W/8] where their
deviations, of the second four channels, are asked for. May raise `TooLarge`."""


class TooLarge(Exception):
    """A VAE has no memory for so much at once. ``in_tiles`` gives the latents all the same, a little other ones."""

    def __init__(self, in_tiles: Callable[[], Tensor]) -> None:
        super().__init__("not enough memory for the VAE")
        self.in_tiles = in_tiles


def tiled(key: str) -> str:
    """The store's key for the latents of a key's image that were made in tiles."""
    return digest("tiled", key)


class LatentWriter:
    """Takes images one by one, encodes those of one bucket together, saves what is missing from the store.

    A context: leaving it encodes what still waits for a full batch, also when an image could not be
    read (ValueError), but not after a cancel. ``on_saved`` is told each job when its latents are on disk.
    ``deviations``: whether the VAE gives them behind its latents.
    """

    def __init__(
        self,
        encode: Encode,
        store: Store,
        batch_size: int,
        on_saved: Callable[[Job], None],
        deviations: bool = False,
    ) -> None:
        self._encode, self._store, self._on_saved = encode, store, on_saved
        self._channels = LATENT_CHANNELS * (2 if deviations else 1)
        self._batch_size = batch_size
        self.saved = 0
        """Images whose latents are on disk."""
        self.made_tiles = False
        self._waiting: defaultdict[Size, list[tuple[Job, np.ndarray]]] = defaultdict(list)

    def __enter__(self) -> "LatentWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, ValueError):
            self.flush()

    def add(self, job: Job, pixels: np.ndarray) -> None:
        """Take an image, uint8 [H, W, 3] of its bucket's size; a batch that is full is encoded.

        Raises:
            ValueError: the VAE gave latents of another shape, or NaN or infinity; names the image.
        """
        bucket = job.placement.bucket
        self._waiting[bucket].append((job, pixels))
        if len(self._waiting[bucket]) >= batch_of(bucket, self._batch_size):
            self._write(self._waiting.pop(bucket))

    def flush(self) -> None:
        """Encode what waits for a full batch. Raises as ``add``."""
        while self._waiting:
            self._write(self._waiting.pop(next(iter(self._waiting))))

    def _write(self, batch: list[tuple[Job, np.ndarray]]) -> None:
        jobs = [job for job, _ in batch]
        pixels = np.stack([picture for _, picture in batch])
        self._save(jobs, [job.plain_key for job in jobs], pixels)
        self._save(jobs, [job.flipped_key for job in jobs], pixels[:, :, ::-1])
        for job in jobs:
            self.saved += 1
            self._on_saved(job)

    def _save(self, jobs: list[Job], keys: list[str | None], pixels: np.ndarray) -> None:
        """Encode and save the rows that have a key; the finite ones also when another is not."""
        rows = [row for row, key in enumerate(keys) if key]
        if not rows:
            return
        chosen = pixels if len(rows) == len(keys) else pixels[rows]
        try:
            latents, in_tiles = self._encode(np.ascontiguousarray(chosen)), None
        except TooLarge as error:
            latents, in_tiles = torch.empty(0), error.in_tiles
        if in_tiles is not None and len(rows) > 1:
            self._batch_size = 1
            for row in rows:
                self._save(jobs[row : row + 1], keys[row : row + 1], pixels[row : row + 1])
            return
        if in_tiles is not None:
            latents, keys = in_tiles(), [key and tiled(key) for key in keys]
            self._tell(jobs[rows[0]])
        height, width = (side // LATENT_PIXELS for side in chosen.shape[1:3])
        expected = (len(rows), self._channels, height, width)
        if latents.shape != expected:
            raise ValueError(
                f"The VAE gave latents of shape {tuple(latents.shape)} where {expected} was "
                "expected: connect the VAE of an SDXL checkpoint."
            )
        spoilt = []
        for row, latent in zip(rows, latents.detach().float().cpu(), strict=True):
            if torch.isfinite(latent).all():
                parts = zip(("latents", "deviation"), latent.split(LATENT_CHANNELS), strict=False)
                self._store.save(KIND, keys[row] or "", dict(parts))
            else:
                spoilt.append(jobs[row].sample.path)
        if spoilt:
            raise ValueError(
                f"The VAE gave NaN or infinity for {spoilt[0]}. If it runs in fp16, run it in bf16 or fp32 "
                "(ComfyUI's --bf16-vae or --fp32-vae) or use a VAE fixed for fp16; else its weights are "
                "damaged: load another one."
            )

    def _tell(self, job: Job) -> None:
        """Say once that images are too large."""
        if not self.made_tiles:
            log.warning(
                "LoRA Loop: %s does not fit into memory at once, so its latents are made in tiles, as all "
                "of such images: they differ a little from those of the whole image.",
                job.sample.path.name,
            )
        self.made_tiles = True
