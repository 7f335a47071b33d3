"""A whole training inside ComfyUI: checks, room, attachment, loop, previews, result."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...trainer.attach import Attachment, checkpoint_plan, leaf_plan
from ...trainer.batches import ended_epoch, with_steps
from ...trainer.caption_window import CaptionWindow
from ...trainer.compact_plan import compact_plan
from ...trainer.data import TrainingData
from ...trainer.held_out import split
from ...trainer.loop import Loop, Outcome, StepEvent
from ...trainer.lora_file import LoraModel
from ...trainer.origin import Origin
from ...trainer.run import Inputs, Result, RunFolder
from ...trainer.state_keeper import StateKeeper
from ...trainer.step import Model
from ...trainer.store import Store
from ...trainer.text_targets import text_plan
from ...trainer.validation_book import ValidationBook
from ...trainer.weights import Lookahead, Weights
from . import checkpoints, folders, memory, text, text_training, unet
from .caching import encode_captions, encode_pictures, make_masks
from .facts import metadata
from .files import cache_store
from .fingerprint import fingerprint
from .planning import memory_plan
from .previews import PreviewBook
from .progress import BandLog, NodeProgress, check_interrupt, step_text
from .registry import REGISTRY
from .request import Request
from .sampling import Previewer
from .seen import record_seen
from .session import training_session
from .starting import make_network
from .stopping import TRAININGS
from .watching import Watching
from .weights import ComfyWeights

log = logging.getLogger(__name__)


def train_lora(request: Request) -> tuple[Result, PreviewBook]:
    """Train, or bring back the result of the same run from disk. Called in inference mode.

    Raises ValueError for unusable input before any work; whatever ends the training early
    (interrupt, out of memory, error) goes on to the caller with the MODEL as it was.
    """
    request.check()
    parts = split(request.cached, request.config)
    request = dataclasses.replace(request, config=with_steps(request.config, parts.training))
    texts = request.cached.text_fingerprint
    if request.clip is not None:
        texts = text.clip_fingerprint(request.clip, request.cached.texts)
    assert texts is not None
    recipe = request.config.identity(request.cached.needs_horizon)
    origin = request.origin()
    begun = origin.identity if origin else request.start.digest() if request.start else ""
    inputs = Inputs(recipe, request.data_identity(), texts, fingerprint(request.patcher), begun)
    folder = RunFolder(folders.runs_root(), inputs)
    book = PreviewBook(folder.path / "previews", request.config.steps)
    validations = ValidationBook(folder, parts.training, request.config)
    found = validations.find(kept=not request.continue_stopped)
    if found is not None:
        log.info("LoRA Loop: nothing changed, the result of run %s is reused", folder.path.name)
        return found, book
    for note in request.notes():
        log.warning("LoRA Loop: %s", note)
    nearest = folder.nearest(request.config, request.cached.needs_horizon)
    with folder.open(request.config), cache_store(request.cached.store_root) as store:
        REGISTRY.release()
        whole = TrainingData(parts.both, texts, store, live_texts=request.trains_text)
        _complete_cache(dataclasses.replace(request, cached=parts.both), whole, store)
        request = dataclasses.replace(request, cached=parts.training)
        data, held_out = whole.parts(parts.training, parts.held_out)
        record_seen(request, data, folder.path)
        watching = Watching(request, held_out, parts, folder)
        training = _Training(request, data, book, folder, watching, origin)
        if training.first:
            log.info("LoRA Loop: run %s goes on after step %d", folder.path.name, training.first)
        else:
            said = [origin.describe()] if origin else [nearest] if nearest else []
            log.info("LoRA Loop: %s", "; ".join([f"new run {folder.path.name}", *said]))
        with TRAININGS.running(request.node_id) as stop:
            return training.run(stop), book


def _complete_cache(request: Request, data: TrainingData, store: Store) -> None:
    """Encode what the cache lacks; raises ValueError when there is nothing to encode it with."""
    cached = request.cached
    if request.clip is not None and not request.trains_text:
        encode_captions(cached, request.clip, request.config, store, request.node_id)
    missing = data.missing(request.config)
    if missing and request.vae is not None:
        encode_pictures(cached.dataset, cached.recipe, request.vae, store, node_id=request.node_id)
        missing = data.missing(request.config)
    if missing:
        raise ValueError(
            f"The cache lacks {len(missing)} pictures or captions (first: {missing[0]}): it was cleared "
            "after Cache Latents ran, or Caption Settings give captions that it did not encode. "
            "Connect VAE and CLIP to Train, or restart ComfyUI, and queue again."
        )
    if request.config.loss.masked:
        data.masks = make_masks(cached, store, request.node_id)


class Follower(Protocol):
    """Whoever is told of every finished step."""

    def on_step(self, event: StepEvent) -> str | None:
        """A sentence ends the run with what it has reached; it may raise to cancel."""
        ...


class _Training:
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
        self._unet: nn.Module = request.patcher.model.diffusion_model
        self._progress = NodeProgress(request.config.steps, request.node_id)
        self._weights: Weights = ComfyWeights()
        if request.prefetch:
            self._weights = Lookahead(self._weights)
        self._hold = ExitStack()
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
            self._network = network = make_network(self._request, encoders, device, self._weights)
            parameters = sum(p.numel() for p in network.parameters())
            self._folder.check_space(
                parameters,
                averaged=self._config.optimiser.ema_decay > 0,
                keep_best=self._config.validation.keep_best,
            )
            self._memory = memory_plan(self._request, parameters)
            log.info(
                "LoRA Loop: %d adapted layers; %s", len(network.targets), self._memory.describe()
            )
            self._make_room()
            plan_of = compact_plan if self._config.compact else leaf_plan
            self._leaves = plan_of(self._unet, network, self._weights)
            for encoder in encoders:
                self._leaves += text_plan(encoder, network, self._weights)
            plan = list(self._leaves)
            if self._memory.checkpointing:
                plan += checkpoint_plan(self._unet)
            stack.callback(self._hold.close)
            self._attachment = stack.enter_context(Attachment(plan))
            self._hold_weights()
            model = self._model()
            self._loop = Loop(
                model,
                network,
                self._data,
                self._config,
                self,
                self._memory.micro_batch,
                self._start,
            )
            self._states = StateKeeper(self._folder.states, self._loop, self.first)
            self._followers: list[Follower] = [
                *stack.enter_context(self._watching.follow(self._loop, model, self.before_batch)),
                *checkpoints.follow(self._request, self._folder.path, self._loop, self.first),
                self._states,
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

    def _model(self) -> Model:
        """UNet and, where they are trained, text encoders for the loop."""
        model, request = unet.training_model(self._patcher, self._config.loss), self._request
        if not request.trains_text:
            return model
        encode = text_training.live_encode(request.clip, request.cached.texts)
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
            with self._outside():
                self._encode_captions()
        epoch = event.epoch if event.ends_epoch else 0
        picture = self._preview(event.step) if self._is_due(event.step, epoch) else None
        self._progress.update(event.step, event.warning or step_text(event), picture)
        return stopped

    def _is_due(self, step: int, epoch: int) -> bool:
        settings = self._request.previews
        return self._previewer is not None and settings is not None and settings.is_due(step, epoch)

    def _preview(self, step: int) -> Any:
        """Sample with the live adapters."""
        assert self._previewer is not None
        with self._outside(), self._loop.averaged():
            pictures = self._previewer.sample(self._network.at_strength)
        return self._book.add(step, pictures, self._previewer.strengths)

    def _encode_captions(self) -> None:
        """Encode the texts of the coming steps, in inference mode."""
        clip, recipe = self._request.clip, self._request.cached.texts

        def on_text(done: int, total: int) -> None:
            check_interrupt()
            self._progress.say(f"captions {done}/{total}")

        self._captions.fill(lambda caption: text.encode_caption(clip, caption, recipe), on_text)

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """ComfyUI's own work in the middle of the training, which then takes its place again."""
        self._hold.close()
        with torch.inference_mode():
            yield
        self._attachment.check()
        self._make_room()
        self._hold_weights()

    def _make_room(self) -> None:
        with torch.inference_mode():
            memory.make_room(self._request.trained, self._memory.reserve)

    def _hold_weights(self) -> None:
        self._hold.enter_context(self._weights.hold(leaf.module for leaf in self._leaves))
