"""How often a run drew each part of the timesteps: found again, since draws depend on nothing but their keys."""

from __future__ import annotations

from itertools import chain, islice

from ..batches.plan import BatchItem, epoch_batches
from ..cache.latents import CachedDataset
from ..config.train import TrainConfig
from ..sdxl.constants import TIMESTEPS
from .step import sample_generator
from .timesteps import drawn_timestep

PARTS = 20
"""The timesteps are cut into so many parts of equal width."""
MOST = 20_000
"""Samples that are looked at: the first of the run, which takes a second."""


def drawn_counts(dataset: CachedDataset, config: TrainConfig, steps: int) -> tuple[int, ...]:
    """How many of a run's samples had a timestep in each part, the least noisy first.

    ``dataset``: what is trained on; ``steps``: so many were done.
    """
    counts, epoch = [0] * PARTS, 0
    left = MOST
    while steps > 0 and left > 0:
        batches = epoch_batches(dataset, config.batch_size, config.seed, epoch)
        done = min(steps, -(-len(batches) // config.accumulation))
        items = chain.from_iterable(batches[: done * config.accumulation])
        for item in islice(items, left):
            left -= 1
            counts[_part(item, config, epoch)] += 1
        steps, epoch = steps - done, epoch + 1
    return tuple(counts)


def _part(item: BatchItem, config: TrainConfig, epoch: int) -> int:
    rng = sample_generator(config.seed, epoch, item)
    return int(drawn_timestep(config.loss, TIMESTEPS, rng)) * PARTS // TIMESTEPS
