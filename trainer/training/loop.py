"""The training loop: it reports by events, obeys commands, and knows nothing of who drives it."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from ..batches.training_data import PlannedStep, TrainingData
from ..config.train import TrainConfig
from ..device.ranks import ALONE, RankLost, Ranks
from ..network.network import Network
from ..optim.lr_schedule import learning_rate
from ..optim.optimiser import Optimiser, StepOutcome
from .cuda_graphs import Graphs
from .divergence import Guard
from .gradients import Gradients
from .loss_by_timestep import BandLosses
from .non_finite import damaged, lost, slower, useless
from .prefetch import Ahead, PreparedBatch, prepared_batches
from .state import State
from .step import Model
from .tally import Tally


@dataclass(frozen=True)
class StepEvent:
    """What is known after an optimiser step. step counts from 1, epoch from 1."""

    step: int
    steps: int
    epoch: int
    ends_epoch: bool
    loss: float
    learning_rate: float
    grad_norm: float
    applied: bool
    seconds: float
    """Since the loop began, pauses of the observer (previews) left out."""
    timed: int
    """How many steps these seconds are for: all but those that an earlier attempt did."""
    warning: str | None = None
    bands: tuple[float, ...] = ()
    """The mean loss of the latest samples by band of timesteps; NaN where there was none (see
    trainer/training/loss_by_timestep.py)."""
    pixels: int = 0
    """Of all images of the step."""


Relief = Callable[[RuntimeError], Callable[[], int] | None]
"""Told why a step could not be computed; None: that ends the run. What it gives is called when nothing of
the step is left, makes room, and says how many samples at a time the step is computed again with."""


class Observer(Protocol):
    """Who drives the loop. Any method may raise to cancel the run."""

    def before_batch(self) -> None:
        """Called before every micro batch."""
        ...

    def on_step(self, event: StepEvent) -> str | None:
        """Called after every optimiser step; may take its time (previews).

        A sentence ends the run here, with what it has reached as its result; None goes on.
        """
        ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the losses of all its steps, and None or a sentence saying why it stopped early."""

    losses: tuple[float, ...]
    stopped: str | None = None
    lost: bool = False
    """It stopped because its numbers were not finite, not because anybody wanted it to."""

    @property
    def steps(self) -> int:
        return len(self.losses)


class _Computed(NamedTuple):
    """What a step's gradients came from. loss: the mean of its batches; norm: the gradients', before clipping."""

    planned: PlannedStep
    pixels: int
    loss: float
    norm: float


class Loop:
    """One run. The adapters of `network` must be attached to the model while `run` is under way.

    With `start` it goes on after the step of that state as if it had never stopped: on a CPU bit for bit,
    on a card with the same data, noise, rates and counters.
    """

    def __init__(
        self,
        model: Model,
        network: Network,
        data: TrainingData,
        config: TrainConfig,
        micro_batch: int | None = None,
        start: State | None = None,
        graphs: Graphs | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        config.loss.check_prediction(model.schedule.prediction)
        self._model = model
        self._network = network
        self._data = data
        self._config, self._ranks = config, ranks
        self._micro_batch = micro_batch or config.batch_size
        if start is not None:
            network.load(start.network)  # before a moving average of it begins
        self._optimiser = Optimiser(
            network.groups(config.lora),
            config.optimiser,
            device=model.device,
            compute_dtype=model.dtype,
            at_once=config.lora.fused_backward,
            seed=config.seed,
        )
        gradients = Gradients(model, network, config, self._optimiser.backward)
        self._gradients = gradients if graphs is None else graphs.around(gradients)
        self._guard, self._remedy = Guard(), slower(config)
        self._bands = BandLosses(len(model.schedule))
        self._losses: list[float] = []
        self._good = 0
        self._is_whole, self._is_checked = True, False
        if start is not None:
            self._losses, self._good = list(start.losses), start.good
            if start.optimiser:
                self._optimiser.load(start.optimiser)
            self._guard.load(start.guard)
            self._bands.load(start.bands)

    @property
    def losses(self) -> tuple[float, ...]:
        """Of all steps so far, those before `start` too."""
        return tuple(self._losses)

    def averaged(self) -> AbstractContextManager[None]:
        """For previews and saving in the middle: the adapters as they are used (see Optimiser.averaged)."""
        return self._optimiser.averaged()

    def tensors(self) -> dict[str, Tensor]:
        """The LoRA as it would be used now, by kohya key: copies on the CPU."""
        with self.averaged():
            return self._network.state_dict(pins=self._model.pins)

    def state(self) -> State | None:
        """Where the run stands after its last step; None while a step is being applied, and but for rank 0."""
        if not self._is_whole or not self._ranks.leads:
            return None
        return State(
            step=len(self._losses),
            losses=list(self._losses),
            good=self._good,
            network=self._network.state_dict(pins=self._model.pins),
            optimiser=self._optimiser.state(pins=self._model.pins),
            guard=self._guard.state(),
            bands=self._bands.state(),
        )

    def run(self, observer: Observer, relief: Relief | None = None) -> Outcome:
        """Train until config.steps steps are done, or until the observer stops it, or lost.

        Raises ValueError when no step at all gave finite numbers, at once where that is the model's fault.
        """
        config, before, busy, stopped = self._config, len(self._losses), 0.0, None
        coming = self._coming(before)
        for step in range(before, config.steps):
            begin = time.perf_counter()
            rate = learning_rate(config.optimiser, step, config.steps)
            self._network.begin_step(step)
            self._optimiser.begin(rate, step)
            while (done := self._try(coming, observer, relief)) is None:
                coming = self._coming(step)
            if not self._good and not math.isfinite(done.loss):
                self._check_model()
            self._is_whole = False
            outcome = self._apply(done.loss, done.norm, rate)
            self._is_whole = True
            busy += time.perf_counter() - begin
            event = self._event(done, rate, outcome, busy, len(self._losses) - before)
            stopped = self._ranks.tell(observer.on_step(event))
            if stopped or self._guard.lost:
                break
        self._optimiser.finish()
        losses = tuple(self._losses)
        if not self._good:
            raise ValueError(useless(len(losses), self._model.dtype))
        if self._guard.lost:
            return Outcome(losses, lost(len(losses), config), lost=True)
        return Outcome(losses, stopped if len(losses) < config.steps else None)

    def _coming(self, step: int) -> Ahead[PreparedBatch]:
        """The batches after so many steps."""
        given = self._data, self._model, self._config, self._micro_batch, self._ranks
        plan = self._data.steps(self._config, step)
        return Ahead(prepared_batches(itertools.islice(plan, self._config.steps - step), *given))

    def _try(
        self, coming: Ahead[PreparedBatch], observer: Observer, relief: Relief | None
    ) -> _Computed | None:
        """Gradients of one optimiser step, clipped; None where it is to be computed again.

        Clipping also lays out the optimiser's buffers: an error there, as in applying, ends the run.
        """
        try:
            return self._compute(coming, observer.before_batch)
        except RuntimeError as error:
            make_room = relief(error) if relief and self._is_whole else None
            if make_room is None:
                raise
        self._optimiser.clear()  # only now, for the error keeps the tensors of the step alive
        self._micro_batch = make_room()
        return None

    def _check_model(self) -> None:
        """Raise ValueError where the model's own weights are not finite; looked at once."""
        if not self._is_checked:
            self._is_checked = True
            names = self._model.damage()
            if names:
                raise ValueError(damaged(names))

    def _compute(self, coming: Ahead[PreparedBatch], before_batch: Callable[[], None]) -> _Computed:
        """Gradients of one optimiser step, clipped.

        Batches are prepared while the device computes those before, the first of the next step too.
        Only then the device is waited for, once.
        """
        tally = Tally()
        while True:
            planned, parts, ends_step = next(coming)
            for part in parts:
                before_batch()
                self._is_whole = not self._config.lora.fused_backward
                tally.add(part, self._gradients(part.micro))
            if ends_step:
                break
        self._is_whole = False
        if self._ranks.are_several:
            try:
                tally.meet(self._ranks, self._optimiser)
            except RankLost:  # nothing is applied yet
                self._is_whole = True
                raise
        norm = self._optimiser.clip()
        # Other ranks, or weights stepped within backward, are a step ahead now: it is not computed again.
        self._is_whole = not (self._ranks.are_several or self._config.lora.fused_backward)
        coming.prepare()
        norm = tally.read(norm)
        loss = tally.loss(self._bands) / len(planned.batches)
        return _Computed(planned, tally.pixels, loss, norm)

    def _apply(self, loss: float, norm: float, rate: float) -> StepOutcome:
        """One step with the gradients that there are, and the books about it."""
        finite = math.isfinite(loss)
        outcome = self._optimiser.step(rate, norm) if finite else self._optimiser.skip()
        if self._config.lora.max_norm:
            self._network.limit_norms(self._config.lora.max_norm)
        if outcome.applied:
            self._optimiser.average()
        self._guard.record(loss, applied=outcome.applied, excused=outcome.overflow)
        self._losses.append(loss)
        self._good += outcome.applied
        return outcome

    def _event(
        self, done: _Computed, rate: float, outcome: StepOutcome, seconds: float, timed: int
    ) -> StepEvent:
        return StepEvent(
            step=len(self._losses),
            steps=self._config.steps,
            epoch=done.planned.epoch + 1,
            ends_epoch=done.planned.ends_epoch,
            loss=self._losses[-1],
            learning_rate=rate if math.isnan(outcome.learning_rate) else outcome.learning_rate,
            grad_norm=outcome.grad_norm,
            applied=outcome.applied,
            seconds=seconds,
            timed=timed,
            warning=self._guard.alarm(self._remedy),
            bands=self._bands.means(),
            pixels=done.pixels,
        )
