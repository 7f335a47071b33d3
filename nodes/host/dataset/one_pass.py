"""Images read for the tagger and, where a VAE is connected, for both: each file is decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from ....base.image_file import opened
from ....tagger import View, prepare
from ....trainer.cache.decoding import Job, grouped
from ....trainer.cache.encoding import LatentWriter
from ....trainer.cache.latents import plan_latents
from ....trainer.config.cache import CacheConfig
from ....trainer.dataset.dataset import Dataset, Sample
from ....trainer.dataset.images import resize_and_crop, to_rgb
from ....trainer.dataset.unchanged import read_unchanged
from ....trainer.sdxl.buckets import Size
from ..cache_folder import cache_store
from ..model.host_types import Vae
from ..progress import check_interrupt
from .cache import encoder, latent_config


class Reader:
    """Decodes images for the tagger; ``fast``: JPEGs at a fraction of their size."""

    def __init__(self, fast: bool = False) -> None:
        self._fast = fast

    @property
    def latents(self) -> int:
        """How many were made so far."""
        return 0

    def ordered(self, samples: Mapping[str, Sample]) -> Mapping[str, Sample]:
        """The samples, by digest, in the order in which they shall be read."""
        return samples

    def decode(self, sample: Sample, view: View) -> np.ndarray:
        """The tagger's pixels of an image whose bytes are those that the dataset knows; for threads.

        Raises ValueError saying why there are none.
        """
        return prepare(
            read_unchanged(sample.path, sample.digest, named=False), view, fast=self._fast
        )

    def tagged(self, digest: str) -> None:
        """To be told, in the order of reading, of each image that the tagger is done with."""


class OnePass(Reader):
    """Makes the latents that these jobs are missing from the images that the tagger decodes.

    The VAE's pixels of an image wait from its decoding until the tagger is done with it.
    """

    def __init__(self, jobs: Sequence[Job], kohya: bool, writer: LatentWriter) -> None:
        super().__init__()
        self._kohya, self._writer = kohya, writer
        self._jobs: dict[str, list[Job]] = {}
        for job in grouped(jobs):
            self._jobs.setdefault(job.sample.digest, []).append(job)
        self._pixels: dict[str, list[np.ndarray]] = {}
        self._bucket: Size | None = None

    @property
    def latents(self) -> int:
        """How many were made so far, an image and its flipped copy counted as one."""
        return self._writer.saved

    def ordered(self, samples: Mapping[str, Sample]) -> Mapping[str, Sample]:
        """Images of one bucket together, those that are complete last."""
        return {digest: samples[digest] for digest in {**self._jobs, **samples}}

    def decode(self, sample: Sample, view: View) -> np.ndarray:
        """The same pixels as without a VAE."""
        jobs = self._jobs.get(sample.digest)
        if jobs is None:
            return super().decode(sample, view)
        with opened(sample.path, read_unchanged(sample.path, sample.digest, named=False)) as image:
            rgb = to_rgb(image, self._kohya)
            square = prepare(image, view)
        self._pixels[sample.digest] = [
            resize_and_crop(rgb, job.placement, job.interpolation) for job in jobs
        ]
        return square

    def tagged(self, digest: str) -> None:
        """Hands the image to the VAE, which works when a batch is full or another bucket begins."""
        jobs = self._jobs.get(digest)
        if jobs is None:
            return
        bucket = jobs[0].placement.bucket
        if bucket != self._bucket:
            self._writer.flush()
            self._bucket = bucket
        for job, pixels in zip(jobs, self._pixels.pop(digest), strict=True):
            self._writer.add(job, pixels)


@contextmanager
def one_pass(
    dataset: Dataset, samples: Mapping[str, Sample], vae: Vae, config: CacheConfig
) -> Iterator[OnePass]:
    """A reader of these samples, by digest, that also puts their latents where Cache Latents looks.

    Raises ValueError as Cache Latents does; for images that fit no bucket before any is read.
    """
    latents = latent_config(config, vae)
    wanted = dataset.replace_samples(lambda sample: sample if sample.digest in samples else None)
    with cache_store() as store:
        _, jobs = plan_latents(wanted, latents, store)
        with LatentWriter(
            encoder(latents, vae),
            store,
            config.batch_size,
            lambda _: check_interrupt(),
            latents.deviations,
        ) as writer:
            yield OnePass(jobs, config.kohya, writer)


def _bytes_of(sample: Sample) -> bytes:
    return read_unchanged(sample.path, sample.digest, named=False)
