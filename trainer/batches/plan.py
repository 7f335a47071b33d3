"""The batch plan of an epoch: a pure function of the cached dataset, batch size, seed and epoch."""

import dataclasses
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate, count, islice
from typing import NamedTuple

from .. import rng
from ..cache.latents import CachedDataset
from ..config.train import TrainConfig
from ..sdxl.buckets import Size

MOST_SAMPLES = 5_000_000
"""Of one epoch: its plan is in memory."""

_FLIP_CHANCE = 0.5


class BatchItem(NamedTuple):
    """One sample: one use of one image: its place in ``cached.items``, which repeat, and whether flipped.

    ``text`` is what this sample makes of the caption; None: the caption as it stands. ``class_text``
    is that with the trigger replaced, where prior preservation asks for it; ``preserves``: the target
    is the model's own prediction (see trainer/training/preservation.py). The adapters act at ``strength``,
    which all samples of a batch share. ``others``: the prompts that a slider needs beside the text.
    """

    item_index: int
    repeat: int
    flipped: bool
    text: str | None = None
    class_text: str | None = None
    preserves: bool = False
    strength: float = 1.0
    others: tuple[str, ...] = ()


class Group(NamedTuple):
    """What the images of a batch have in common; ``batch_size`` 0: as many as the training says."""

    bucket: Size
    batch_size: int = 0
    strength: float = 1.0

    @property
    def key(self) -> tuple[int | str, ...]:
        """What its order is drawn by: the bucket, and what is not as everywhere."""
        if (self.batch_size, self.strength) == (0, 1.0):
            return self.bucket
        return (*self.bucket, self.batch_size, str(self.strength))


def epoch_batches(
    cached: CachedDataset, batch_size: int, seed: int, epoch: int
) -> tuple[tuple[BatchItem, ...], ...]:
    """The batches of ``epoch`` (from 0) in training order.

    Every image comes exactly once per repeat; a batch never mixes groups, and the last of a group
    may be smaller. Regularisation images are as many as kohya's, but those beyond the need take turns
    from epoch to epoch. See docs/kohya.md, "Batches".

    Raises:
        ValueError: batch size or epoch is out of range, or there is nothing but regularisation images.
    """
    if batch_size < 1 or epoch < 0:
        raise ValueError(
            f"Batch size must be at least 1 and epoch 0, got {batch_size} and {epoch}."
        )
    batches = []
    for group, entries in showings(cached, epoch).items():
        order = rng.permutation(len(entries), seed, "order", epoch, *group.key)
        shown = [_show(cached, *entries[place], seed, epoch) for place in order]
        size = group.batch_size or batch_size
        batches += [tuple(shown[start : start + size]) for start in range(0, len(shown), size)]
    return tuple(batches[place] for place in rng.permutation(len(batches), seed, "batches", epoch))


def batches_per_epoch(cached: CachedDataset, batch_size: int, epoch: int = 0) -> int:
    """How many batches ``epoch`` has; epochs differ only where regularisation images take turns.

    Raises:
        ValueError: there is nothing but regularisation images, or nothing at all.
    """
    return sum(
        -(-len(entries) // (group.batch_size or batch_size))
        for group, entries in showings(cached, epoch).items()
    )


def epoch_ends(cached: CachedDataset, config: TrainConfig) -> Iterator[int]:
    """How many optimiser steps are done at the end of the first epoch, the second, and so on for ever.

    The last step of an epoch may have fewer batches than others: none is carried over, as in kohya.
    """
    takes_turns = any(item.is_reg for item in cached.items)
    steps = done = 0
    for epoch in count():
        if epoch == 0 or takes_turns:
            batches = batches_per_epoch(cached, config.batch_size, epoch)
            steps = -(-batches // config.accumulation)
        done += steps
        yield done


def epoch_of(cached: CachedDataset, config: TrainConfig, step: int) -> tuple[int, bool]:
    """The epoch, counted from 1, that optimiser step ``step`` lies in, and whether it ends with it."""
    ends = enumerate(epoch_ends(cached, config), 1)
    return next((number, end == step) for number, end in ends if end >= step)


def ended_epoch(cached: CachedDataset, config: TrainConfig, step: int) -> int:
    """The epoch, counted from 1, that ends with optimiser step ``step``; 0 when none does."""
    number, ends = epoch_of(cached, config, step)
    return number if ends else 0


def with_steps(config: TrainConfig, cached: CachedDataset) -> TrainConfig:
    """The config with the ``steps`` that its ``epochs`` come to with this data; as it is without epochs.

    Raises:
        ValueError: there is nothing to train on.
    """
    if not config.epochs:
        return config
    steps = next(islice(epoch_ends(cached, config), config.epochs - 1, None))
    return dataclasses.replace(config, steps=steps)


def check_own_batches(cached: CachedDataset, config: TrainConfig) -> None:
    """Raise ValueError where a dataset's own batches would be cut, and weights are stepped within backward."""
    largest = max((item.batch_size for item in cached.items), default=0)
    if config.lora.fused_backward and largest > config.batch_size:
        raise ValueError(
            f"fused_backward has one backward a step, and a dataset has batches of its own of {largest} images, "
            f"which are cut to Train's batch_size, {config.batch_size}: set that to {largest} or more, lower "
            "batch_size in Dataset Options, or turn fused_backward off."
        )


def showings(cached: CachedDataset, epoch: int) -> dict[Group, list[tuple[int, int]]]:
    """(item, repeat) pairs of an epoch per group, unshuffled, groups sorted.

    Raises:
        ValueError: there is nothing but regularisation images, or nothing at all, or too many samples.
    """
    repeats = {i: item.repeats for i, item in enumerate(cached.items) if not item.is_reg}
    if not repeats:
        raise ValueError(
            "There is no image to train on: all images are regularisation images or there are "
            "none. Give Load Dataset a folder with training images."
        )
    reg = [(i, item.repeats) for i, item in enumerate(cached.items) if item.is_reg]
    if reg:
        repeats.update(_reg_repeats(reg, sum(repeats.values()), epoch))
    samples = sum(repeats.values())
    if samples > MOST_SAMPLES:
        raise ValueError(
            f"An epoch would have {samples} samples, allowed: {MOST_SAMPLES}. Lower the repeats of the "
            "folders, and raise the number of epochs or steps instead."
        )
    groups: defaultdict[Group, list[tuple[int, int]]] = defaultdict(list)
    for index, times in sorted(repeats.items()):
        item = cached.items[index]
        group = Group(item.bucket, item.batch_size, item.strength)
        groups[group] += [(index, repeat) for repeat in range(times)]
    return dict(sorted(groups.items()))


def _show(cached: CachedDataset, index: int, repeat: int, seed: int, epoch: int) -> BatchItem:
    item = cached.items[index]
    can_flip = item.flipped_key is not None
    flipped = can_flip and rng.uniform(seed, "flip", epoch, index, repeat) < _FLIP_CHANCE
    return BatchItem(index, repeat, flipped, preserves=item.preserves, strength=item.strength)


def _reg_repeats(reg: list[tuple[int, int]], needed: int, epoch: int) -> dict[int, int]:
    """Repeats of the regularisation images in one epoch, against ``needed`` training samples.

    Epoch 0 is as in kohya (docs/kohya.md, "Regularisation images"): images in order with their own
    repeats until the need is met; if all do not meet it, one repeat more each, in order, until it is.
    In later epochs the walk goes on where the last one stopped.
    """
    total = sum(times for _, times in reg)
    if total <= needed:
        rounds, rest = divmod(needed - total, len(reg))
        start = epoch * rest
        extra = {(start + k) % len(reg) for k in range(rest)}
        return {index: n + rounds + (place in extra) for place, (index, n) in enumerate(reg)}
    ends = [0, *accumulate(times for _, times in reg * 2)]

    def stop_after(first: int) -> int:
        return bisect_left(ends, ends[first] + needed)

    start = 0
    for _ in range(epoch):
        start = stop_after(start) % len(reg)
    return dict((reg * 2)[start : stop_after(start)])
