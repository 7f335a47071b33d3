"""Pictures decoded into their buckets, in threads, ahead of the encoder that wants them."""

import os
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import numpy as np

from ..dataset.dataset import Interpolation, Sample
from ..dataset.images import load_rgb, resize_and_crop
from ..dataset.unchanged import read_unchanged
from ..sdxl.buckets import Placement, Size

MAX_THREADS = 8  # each may hold a decoded picture
_AUTOMATIC_PIXELS = 1 << 22
_MOST_PICTURES = 64


class Job(NamedTuple):
    """A picture that lacks latents, and which."""

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
    """How many pictures of a bucket are a batch; ``batch_size`` 0: about four megapixels of them."""
    return batch_size or max(1, min(_MOST_PICTURES, _AUTOMATIC_PIXELS // (bucket[0] * bucket[1])))


@contextmanager
def decoded(
    jobs: Sequence[Job], kohya: bool, batch_size: int
) -> Iterator[Iterator[tuple[Job, np.ndarray]]]:
    """Jobs with their pixels, uint8 [H, W, 3], in order; decoded in threads about a batch ahead."""
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="lora-loop-decode")

    def pixels_ahead() -> Iterator[tuple[Job, np.ndarray]]:
        waiting: deque[tuple[Job, Future[np.ndarray]]] = deque()
        for job in jobs:
            waiting.append((job, pool.submit(_decode, job, kohya)))
            if len(waiting) > threads + batch_of(waiting[0][0].placement.bucket, batch_size):
                ready, future = waiting.popleft()
                yield ready, future.result()
        while waiting:
            ready, future = waiting.popleft()
            yield ready, future.result()

    try:
        yield pixels_ahead()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode(job: Job, kohya: bool) -> np.ndarray:
    """A picture in its bucket, uint8 [H, W, 3]; its bytes are those that the dataset knows."""
    path = job.sample.path
    data = read_unchanged(path, job.sample.digest)
    image = load_rgb(path, kohya=kohya, data=data)
    return resize_and_crop(image, job.placement, job.interpolation)
