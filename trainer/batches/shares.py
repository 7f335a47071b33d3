"""How the images of a step are shared out among the ranks that train together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..config.train import TrainConfig
from ..device.ranks import Ranks

T = TypeVar("T")


def share(batches: Sequence[Sequence[T]], ranks: Ranks) -> list[Sequence[T]]:
    """What this rank computes of each batch of a step, maybe nothing: a pure function of step and rank.

    The samples of all batches, one after the other, are cut into as many stretches as there are ranks,
    of equal length or one sample apart where an epoch leaves fewer.
    """
    samples = sum(map(len, batches))
    first, end = (samples * rank // ranks.world for rank in (ranks.rank, ranks.rank + 1))
    found, before = [], 0
    for batch in batches:
        found.append(batch[max(first - before, 0) : max(end - before, 0)])
        before += len(batch)
    return found


def largest_share(config: TrainConfig, ranks: Ranks) -> int:
    """The most samples of one batch that a rank has."""
    return min(config.batch_size, config.batch_size * config.accumulation // ranks.world)


def check_shares(config: TrainConfig, ranks: Ranks) -> None:
    """Raise ValueError where several ranks cannot share a step evenly or at all; says what would fit."""
    if ranks.are_several and config.lora.fused_backward:
        raise ValueError(
            "fused_backward applies gradients before several processes can add theirs up: turn it off "
            "(kohya: fused_backward_pass), or train with one process."
        )
    images = config.batch_size * config.accumulation
    if images % ranks.world:
        fitting = ", ".join(str(n) for n in range(1, images + 1) if not images % n)
        raise ValueError(
            f"{ranks.world} processes cannot share {images} images evenly: a step has batch size "
            f"{config.batch_size} x accumulation {config.accumulation} images in all. So many processes "
            f"can: {fitting}. Or change train_batch_size, which makes it another training."
        )
