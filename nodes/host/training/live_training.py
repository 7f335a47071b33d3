"""One training that is really done: memory, attachment, loop, previews, the result."""

from __future__ import annotations

import dataclasses
import logging
import time
from contextlib import ExitStack
from typing import Any, Protocol

from torch import Tensor

from ....trainer.batches.caption_window import CaptionWindow
from ....trainer.batches.plan import ended_epoch
from ....trainer.batches.training_data import TrainingData
from ....trainer.lora_files.file import LoraModel
from ....trainer.memory.plan import MemoryPlan
from ....trainer.network.network import Network
from ....trainer.runs.continue_from import Origin
from ....trainer.runs.run_folder import Result, RunFolder
from ....trainer.runs.state_keeper import StateKeeper
from ....trainer.training.loop import Loop, Outcome, StepEvent
from ....trainer.training.step import Model
from ..model import clip as text
from ..model import clip_training, memory, unet
from ..model.autograd_session import training_session
from ..model.frozen_weights import frozen_weights
from ..previews.preview_book import PreviewBook
from ..previews.previewer import Previewer
from ..progress import BandLog, NodeProgress, check_interrupt, step_text
from . import checkpoints
from .attachment import Mounting
from .memory_plan import memory_plan
from .metadata import metadata
from .observers import Watching
from .request import Request
from .spill_notice import Spilling
from .start import make_network

log = logging.getLogger(__name__)


class Follower(Protocol):
    """Whoever is told of every finished step."""

    def on_step(self, event: StepEvent) -> str | None:
        """A sentence ends the run with what it has reached; it may raise to cancel."""
        ...


class LiveTraining:
    """One training that is really done: the observer of its loop."""

    def __init__(
        self,
        request: Request,
        data: TrainingData,
        book: PreviewBook,
        folder: RunFolder,
        watching: Watching,
        origin: Origin | None,
    ) -> None:
        self._request, self._data, self._book, self._folder = request, data, book, folder
        self._watching = watching
        self._start = folder.states.latest(watching.book.reach())
        if self._start is None and origin is not None:
            self._start = origin.load()
        self.first = self._start.step if self._start else 0
        book.clear(self.first)
        self._config = request.config
        self._patcher = request.patcher
        self._progress = NodeProgress(request.config.steps, request.node_id)
        self._previewer: Previewer | None = None
        self._captions = CaptionWindow(data, request.config, start=self.first)

    def run(self, stop: Follower) -> Result:
        """Train and save; ``stop`` may end it early."""
        started = time.time()
        if self._request.wants_previews:
            settings = self._request.previews
            assert settings is not None
            self._previewer = Previewer(
                self._patcher,
                self._request.clip,
                self._request.vae,
                settings,
                learns=self._request.trains_text,
            )
        try:
            outcome, tensors = self._train(stop)
        except BaseException as error:
            memory.explain_out_of_memory(error)
            raise
        finally:
            memory.give_back()
        if outcome.stopped:
            log.warning("LoRA Loop: %s", outcome.stopped)
            self._progress.say(outcome.stopped)
        about = metadata(self._request, outcome.steps, started, self._folder.path)
        return self._watching.book.save(LoraModel(tensors, about), outcome)

    def _train(self, stop: Follower) -> tuple[Outcome, dict[str, Tensor]]:
        device = self._patcher.load_device
        if self._captions.is_due(self.first):
            self._encode_captions()
        with training_session(), ExitStack() as stack:
            encoders = self._request.encoders()
            weights = frozen_weights(self._patcher, self._config.speed)
            self._network = network = make_network(self._request, encoders, device, weights)
            plan = self._memory_plan(network)
            mounting = Mounting(self._request, network, encoders, weights, plan)
            self._mounting = stack.enter_context(mounting)
            model = self._model()
            self._loop = Loop(
                model,
                network,
                self._data,
                self._config,
                self,
                plan.micro_batch,
                self._start,
                mounting.graphs,
            )
            self._states = StateKeeper(self._folder.states, self._loop, self.first)
            self._spilling = Spilling(device)
            self._followers: list[Follower] = [
                *stack.enter_context(self._watching.follow(self._loop, model, self.before_batch)),
                *checkpoints.follow(self._request, self._folder.path, self._loop, self.first),
                self._states,
                self._spilling,
                BandLog(),
                stop,
            ]
            self._start = None  # its tensors are in the network now
            try:
                epoch = ended_epoch(self._request.cached, self._config, self.first)
                if self._is_due(self.first, epoch) and not self._book.has(self.first):
                    self._preview(self.first)  # of the start, or it was cancelled meanwhile
                outcome = self._loop.run()
            except BaseException:  # cancelled, out of memory, whatever: no finished step is lost
                self._states.save()
                raise
            return outcome, network.state_dict()

    def _memory_plan(self, network: Network) -> MemoryPlan:
        """What the run does with its memory; raises ValueError where the disk has no room for it."""
        parameters = sum(p.numel() for p in network.parameters())
        self._folder.check_space(
            parameters,
            averaged=self._config.optimiser.ema_decay > 0,
            keep_best=self._config.validation.keep_best,
        )
        plan = memory_plan(self._request, network)
        log.info("LoRA Loop: %d adapted layers; %s", len(network.targets), plan.describe())
        self._progress.say(plan.describe())
        return plan

    def _model(self) -> Model:
        """UNet and, where they are trained, text encoders for the loop."""
        model, request = unet.training_model(self._patcher, self._config.loss), self._request
        if not request.trains_text:
            return model
        encode = clip_training.live_encode(request.clip, request.cached.texts)
        return dataclasses.replace(model, encode=encode)

    def before_batch(self) -> None:
        check_interrupt()

    def on_step(self, event: StepEvent) -> str | None:
        if event.warning:
            log.warning("LoRA Loop: %s", event.warning)
        reasons = [follower.on_step(event) for follower in self._followers]
        stopped = next(filter(None, reasons), None)
        if stopped:
            self._states.save()
        elif self._captions.is_due(event.step):
            with self._mounting.aside():
                self._encode_captions()
        epoch = event.epoch if event.ends_epoch else 0
        picture = self._preview(event.step) if self._is_due(event.step, epoch) else None
        line = event.warning or step_text(event) + self._spilling.notice
        self._progress.update(event.step, line, picture)
        return stopped

    def _is_due(self, step: int, epoch: int) -> bool:
        settings = self._request.previews
        return self._previewer is not None and settings is not None and settings.is_due(step, epoch)

    def _preview(self, step: int) -> Any:
        """Sample with the live adapters."""
        assert self._previewer is not None
        with self._mounting.aside(), self._loop.averaged():
            pictures = self._previewer.sample(self._network.at_strength)
        return self._book.add(step, pictures, self._previewer.strengths)

    def _encode_captions(self) -> None:
        """Encode the texts of the coming steps, in inference mode."""
        clip, recipe = self._request.clip, self._request.cached.texts

        def on_text(done: int, total: int) -> None:
            check_interrupt()
            self._progress.say(f"captions {done}/{total}")

        self._captions.fill(lambda caption: text.encode_caption(clip, caption, recipe), on_text)
