"""What a step is computed from, made ready before it is needed: read, drawn, on its way to the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from ..batches.shares import share
from ..batches.training_data import Batch, PlannedStep, TrainingData
from ..config.train import TrainConfig
from ..device.ranks import ALONE, Ranks
from ..network.dropout import Dropout
from .gradients import MicroBatch
from .step import Model, draw, sampled

T = TypeVar("T")


class Ahead(Generic[T]):
    """An iterator whose next item may be made before it is asked for.

    An error in making it, or the end, is kept until then: so it never gets in the way of what is
    finished first.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._next: T | None = None
        self._error: BaseException | None = None

    def prepare(self) -> None:
        """Make the next item now, unless it is there."""
        if self._next is not None or self._error is not None:
            return
        try:
            self._next = next(self._items)
        except BaseException as error:  # noqa: BLE001 - raised when it is asked for
            self._error = error

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        self.prepare()
        item, self._next = self._next, None
        if item is None:
            assert self._error is not None
            raise self._error
        return item


class Part(NamedTuple):
    """A micro batch and what the books need of it: the timesteps, one a sample."""

    micro: MicroBatch
    timesteps: list[int]


class PreparedBatch(NamedTuple):
    """A batch in parts, the step that it belongs to, and whether it is the last one of that."""

    planned: PlannedStep
    parts: list[Part]
    ends_step: bool


def prepared_batches(
    plan: Iterable[PlannedStep],
    data: TrainingData,
    model: Model,
    config: TrainConfig,
    micro_batch: int,
    ranks: Ranks = ALONE,
) -> Iterator[PreparedBatch]:
    """The batches of a plan in order, each read and drawn when it is asked for; of each this rank's share.

    Raises:
        ValueError: an entry of the cache is gone; names the image.
    """
    for planned in plan:
        last = len(planned.batches) - 1
        shares = share(planned.batches, ranks)
        for number, (items, own) in enumerate(zip(planned.batches, shares, strict=True)):
            parts = [
                _part(part, len(items), planned.epoch, model, config)
                for part in (data.load(own).split(micro_batch) if own else ())
            ]
            yield PreparedBatch(planned, parts, number == last)


def _part(part: Batch, whole: int, epoch: int, model: Model, config: TrainConfig) -> Part:
    """Part of a batch of ``whole`` samples."""
    part = sampled(part, config.seed, epoch)
    draws = draw(part, config, epoch, len(model.schedule))
    batch, brought = model.bring(part, draws)
    dropout = None
    if config.lora.drops:
        times = brought.timesteps if config.lora.least_rank else None
        horizon = len(model.schedule)
        dropout = Dropout(config.lora, config.seed, epoch, part.items, times, horizon)
    micro = MicroBatch(batch, brought, len(part.items) / whole, dropout)
    return Part(micro, draws.timesteps.tolist())
