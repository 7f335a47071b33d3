"""Pictures decoded into their buckets, in threads, ahead of the encoder that wants them."""

import os
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from .buckets import Placement, Size
from .dataset import Interpolation, Sample
from .digests import bytes_digest
from .images import DECODE_ERRORS, explain, load_rgb, resize_and_crop

CHANGED = "since Load Dataset read it; queue again."
"""The end of the sentence about a picture that is not what the dataset says."""

_MAX_THREADS = 4


class Job(NamedTuple):
    """A picture that lacks latents, and which."""

    sample: Sample
    placement: Placement
    plain_key: str | None
    flipped_key: str | None
    interpolation: Interpolation | None = None


def grouped(jobs: Sequence[Job], batch_size: int) -> list[list[Job]]:
    """Batches of jobs that share a bucket, in the order in which the buckets first come."""
    groups: defaultdict[Size, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.placement.bucket].append(job)
    return [
        group[start : start + batch_size]
        for group in groups.values()
        for start in range(0, len(group), batch_size)
    ]


@contextmanager
def decoded(
    batches: Sequence[list[Job]], kohya: bool
) -> Iterator[Iterator[tuple[list[Job], np.ndarray]]]:
    """Batches with their pixels, uint8 [N, H, W, 3], decoded in threads one batch or more ahead."""
    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="lora-loop-decode")

    def pixels_ahead() -> Iterator[tuple[list[Job], np.ndarray]]:
        waiting: deque[tuple[list[Job], list[Future[np.ndarray]]]] = deque()
        for batch in batches:
            waiting.append((batch, [pool.submit(_decode, job, kohya) for job in batch]))
            if sum(len(futures) for _, futures in waiting) > threads + len(waiting[0][1]):
                ready, futures = waiting.popleft()
                yield ready, np.stack([future.result() for future in futures])
        for ready, futures in waiting:
            yield ready, np.stack([future.result() for future in futures])

    try:
        yield pixels_ahead()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode(job: Job, kohya: bool) -> np.ndarray:
    """A picture in its bucket, uint8 [H, W, 3]; its bytes are those that the dataset knows."""
    path = job.sample.path
    try:
        data = path.read_bytes()
    except DECODE_ERRORS as error:
        raise ValueError(f"Cannot read the picture {path}: {explain(error)}") from error
    if bytes_digest(data) != job.sample.digest:
        raise ValueError(f"{path} changed {CHANGED}")
    image = load_rgb(path, kohya=kohya, data=data)
    return resize_and_crop(image, job.placement, job.interpolation)
