"""One training that is really done: memory, adapters on the model, the loop and who follows it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ....trainer.batches.plan import ended_epoch, epoch_of
from ....trainer.batches.shares import largest_share
from ....trainer.batches.training_data import TrainingData
from ....trainer.config.train import TrainConfig
from ....trainer.memory.plan import MemoryPlan, Need
from ....trainer.network.network import Network
from ....trainer.runs.lost_memory import enough_bytes
from ....trainer.runs.run_folder import RunFolder
from ....trainer.runs.state_keeper import StateKeeper
from ....trainer.training.loop import Loop, Outcome, StepEvent
from ....trainer.training.step import Model, Predict
from ..model import clip_training, unet
from ..model.autograd_session import training_session
from ..model.clip import UNUSED
from ..model.frozen_weights import frozen_weights
from ..model.pristine import take_patches_out
from ..model.trained_model import TrainedModel
from ..model.weights import damaged_weights
from ..progress import NodeProgress, check_interrupt
from .attachment import Mounting
from .beginning import Beginning
from .caption_feed import CaptionFeed
from .descent import Descent
from .memory_plan import find_available, find_need, memory_plan

log = logging.getLogger(__name__)


class Follower(Protocol):
    """Observers that hear of every finished step."""

    def on_step(self, event: StepEvent) -> str | None:
        """A sentence ends the run with what it has reached; it may raise to cancel."""
        ...


@dataclass(frozen=True)
class LiveTraining:
    """A training whose adapters are on the model, before its first step: what followers may use."""

    model: Model
    network: Network
    loop: Loop
    states: StateKeeper
    step: int
    """The step that it goes on from; 0: none."""
    epoch: int
    """The epoch, counted from 1, that ended with that step; 0: none did."""
    aside: Callable[[], AbstractContextManager[None]]
    """ComfyUI's own work in the middle of the training is done inside of this."""
    ending: ExitStack
    """What is to be done when the training ends, by whatever way."""
    epochs: int = 0
    """So many there are in all."""
    plan: str = ""
    """What it does with its memory, in words."""


Join = Callable[[LiveTraining], Follower]
"""Makes a follower of a training that is about to begin."""


class _Driver:
    """The observer of the loop: followers told in order, captions encoded, the state kept at a stop."""

    def __init__(
        self, live: LiveTraining, captions: CaptionFeed, followers: Iterable[Follower]
    ) -> None:
        self._live, self._captions, self._followers = live, captions, list(followers)

    def before_batch(self) -> None:
        check_interrupt()

    def on_step(self, event: StepEvent) -> str | None:
        if event.warning:
            log.warning("LoRA Loop: %s", event.warning)
        reasons = [follower.on_step(event) for follower in self._followers]
        stopped = next(filter(None, reasons), None)
        if stopped:
            self._live.states.save()
        elif self._captions.is_due(event.step):
            with self._live.aside():
                self._captions.encode()
        return stopped


def train_live(
    model: TrainedModel,
    data: TrainingData,
    config: TrainConfig,
    beginning: Beginning,
    progress: NodeProgress,
    joins: Iterable[Join],
) -> tuple[Outcome, dict[str, Tensor]]:
    """Train; how it ended, and the LoRA by kohya key. Called in inference mode.

    Each of ``joins`` makes a follower; they are told of a step in this order.
    """
    state, ranks = beginning.state(), beginning.ranks
    step = state.step if state else 0
    own = dataclasses.replace(config, batch_size=largest_share(config, ranks))
    captions = CaptionFeed(data, config, model.clip, progress, step)
    if captions.is_due(step):
        captions.encode()
    for patcher in model.patchers:
        take_patches_out(
            patcher
        )  # of a clone that is loaded: the adapters go onto the layers below
    with training_session(), ExitStack() as stack:
        weights = frozen_weights(model.patcher, config.speed)
        network = beginning.network(model, config)
        need = find_need(model, data.dataset, config, network)
        available = find_available(model, config)
        plan = _plan(model, own, network, need, available, beginning.folder)
        progress.say(plan.describe())
        mounting = stack.enter_context(Mounting(model, config, network, weights, plan))
        beginning.fill(network)
        descent = Descent(mounting, own, need, beginning.folder, progress)
        trained = _loop_model(model, data, config)
        at_once, graphs = plan.micro_batch, mounting.graphs
        loop = Loop(trained, network, data, config, at_once, state, graphs, ranks)
        del state  # its tensors are in the network now
        states = StateKeeper(beginning.folder.states, loop, step, beginning.folder.troubles)
        epoch = ended_epoch(data.dataset, config, step)
        epochs = epoch_of(data.dataset, config, config.steps)[0]
        live = LiveTraining(
            trained,
            network,
            loop,
            states,
            step,
            epoch,
            mounting.aside,
            stack,
            epochs,
            plan.describe(),
        )
        try:
            driver = _Driver(live, captions, [join(live) for join in joins])
            outcome = loop.run(driver, descent)
        except BaseException as error:  # cancelled, out of memory: no finished step is lost
            descent.note(error)
            states.save()
            for note in beginning.folder.troubles.notes:
                progress.say(note)
            raise
        return outcome, network.state_dict(pins=trained.pins)


def _plan(
    model: TrainedModel,
    config: TrainConfig,
    network: Network,
    need: Need,
    available: int | None,
    folder: RunFolder,
) -> MemoryPlan:
    """What the run does with its memory; raises ValueError where the disk has no room for it."""
    folder.check_space(
        sum(p.numel() for p in network.parameters()),
        averaged=config.optimiser.ema_decay > 0,
        keep_best=config.validation.keep_best,
    )
    enough = enough_bytes(folder)
    if available is not None and enough is not None:
        available = min(available, enough)
    plan = memory_plan(model, config, network, need, available)
    log.info("LoRA Loop: %d adapted layers; %s", len(network.targets), plan.describe())
    return plan


def _loop_model(model: TrainedModel, data: TrainingData, config: TrainConfig) -> Model:
    """UNet and, where they are trained, text encoders for the loop."""
    parts = [("", model.unet), *zip(("CLIP-L ", "CLIP-G "), model.encoders, strict=False)]
    found = dataclasses.replace(
        unet.training_model(model.patcher, config.loss),
        damage=lambda: _damage(parts, model),
    )
    if config.slider.is_on:  # its step is some dozen predictions long
        return dataclasses.replace(found, predict=_interruptible(found.predict))
    if not model.trains_text:
        return found
    encode = clip_training.live_encode(model.trained_clip, data.dataset.texts)
    return dataclasses.replace(found, encode=encode)


def _interruptible(predict: Predict) -> Predict:
    """The same, which raises ComfyUI's exception first where the user pressed cancel."""

    def asked(*told: Tensor) -> Tensor:
        check_interrupt()
        return predict(*told)

    return asked


def _damage(parts: Iterable[tuple[str, Any]], model: TrainedModel) -> list[str]:
    """Names of the weights that are not finite, without those that nothing is computed with."""
    unused = {f"CLIP-L {name.removeprefix('clip_l.transformer.')}" for name in UNUSED}
    found = damaged_weights(parts, model.dtype, model.device)
    return [name for name in found if name not in unused]
