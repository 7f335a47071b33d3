"""Images decoded into their buckets, in threads, ahead of the encoder that wants them."""

from collections import defaultdict
from collections.abc import Generator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from ...base.read_ahead import in_order, thread_count
from ..dataset.dataset import Interpolation, Sample
from ..dataset.images import load_rgb, resize_and_crop
from ..dataset.unchanged import read_unchanged
from ..sdxl.buckets import Placement, Size

MAX_THREADS = 8
_AUTOMATIC_PIXELS = 1 << 22
_MOST_PICTURES = 64


class Job(NamedTuple):
    """An image whose latents are missing, and which."""

    sample: Sample
    placement: Placement
    plain_key: str | None
    flipped_key: str | None
    interpolation: Interpolation | None = None


def grouped(jobs: Sequence[Job]) -> list[Job]:
    """The jobs of each bucket together, in the order in which the buckets first come."""
    groups: defaultdict[Size, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.placement.bucket].append(job)
    return list(chain.from_iterable(groups.values()))


def batch_of(bucket: Size, batch_size: int) -> int:
    """How many images of a bucket are a batch; ``batch_size`` 0: about four megapixels of them."""
    return batch_size or max(1, min(_MOST_PICTURES, _AUTOMATIC_PIXELS // (bucket[0] * bucket[1])))


def decoded(
    jobs: Sequence[Job], kohya: bool, batch_size: int
) -> Generator[tuple[Job, np.ndarray], None, None]:
    """Jobs with their pixels, uint8 [H, W, 3], in order; decoded in threads about a batch ahead."""
    threads = thread_count(MAX_THREADS)
    return in_order(
        lambda job: (job, _decode(job, kohya)),
        jobs,
        name="lora-loop-decode",
        threads=threads,
        ahead=lambda job: threads + batch_of(job.placement.bucket, batch_size),
    )


def _decode(job: Job, kohya: bool) -> np.ndarray:
    """An image in its bucket, uint8 [H, W, 3]; its bytes are those that the dataset knows."""
    data = read_unchanged(job.sample.path, job.sample.digest)
    image = load_rgb(job.sample.path, kohya=kohya, data=data)
    return resize_and_crop(image, job.placement, job.interpolation)
