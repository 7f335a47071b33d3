"""A whole training inside ComfyUI: checks, the stored result, or a training that is really done."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ....trainer.batches.plan import with_steps
from ....trainer.batches.training_data import TrainingData
from ....trainer.files.digests import digest
from ....trainer.files.store import Store
from ....trainer.lora_files.file import LoraModel
from ....trainer.runs.continue_from import Origin
from ....trainer.runs.run_folder import Inputs, Result, RunFolder
from ....trainer.runs.trained_lora import TrainedLora
from ....trainer.runs.trash import Trash
from ....trainer.training.timestep_counts import drawn_counts
from ....trainer.validation.book import ValidationBook
from ....trainer.validation.split import Parts, split
from .. import folders
from ..cache_folder import cache_store
from ..dataset.cache import encode_captions, encode_pictures, make_masks, texts_fingerprint
from ..dataset.tagger_session import REGISTRY
from ..lora.embedding import start_digest
from ..model import memory
from ..model.checkpoint_file import model_name
from ..model.fingerprint import fingerprint
from ..previews.preview_book import PreviewBook
from ..previews.previewer import Previewer
from ..progress import BandLog, NodeProgress
from .beginning import Beginning
from .checkpoints import checkpointing
from .first_step import record_seen
from .followers import StepLine, always, recording, saving_states, validating
from .live_training import Join, train_live
from .metadata import Metadata
from .previewing import previewing
from .request import Errand, Request
from .room_again import asking_for_room, paged_models
from .spill_notice import Spilling
from .trainings import TRAININGS, Training, result_of
from .turns import Turns

log = logging.getLogger(__name__)


def train_lora(request: Request, *joins: Join) -> tuple[Result, PreviewBook]:
    """Train, or bring back the result of the same run from disk. Called in inference mode.

    Each of ``joins`` makes a follower of the steps, when there are any.

    Raises ValueError for unusable input before any work; whatever ends the training early
    (interrupt, out of memory, error) goes on to the caller with the MODEL as it was.
    """
    request.check()
    parts = split(request.cached, request.config)
    request = dataclasses.replace(request, config=with_steps(request.config, parts.training))
    origin = request.origin()
    folder = RunFolder(folders.runs_root(), run_inputs(request, origin))
    book = PreviewBook(folder.path / "previews", request.config.steps)
    with TRAININGS.running(request.node_id, folder.path.name, request.config.steps) as training:
        validations = ValidationBook(folder, parts.training, request.config)
        result = validations.find(kept=not request.continue_stopped)
        if result is not None:
            log.info("LoRA Loop: nothing changed, the result of run %s is reused", folder.path.name)
            request.ranks.tell(None)
        else:
            result = _new_result(request, parts, folder, origin, book, training, joins)
        training.over("ended", result.summary(), step=len(result.losses), result=result_of(result))
    if not request.config.loss.draws_evenly:
        counts = drawn_counts(parts.training, request.config, len(result.losses))
        result = dataclasses.replace(result, timesteps=counts)
    lora = TrainedLora(result.lora, request.config, result)
    return dataclasses.replace(result, lora=lora), book


def _new_result(
    request: Request,
    parts: Parts,
    folder: RunFolder,
    origin: Origin | None,
    book: PreviewBook,
    training: Training,
    joins: Iterable[Join],
) -> Result:
    """Train in the run's folder, which is held meanwhile."""
    for note in request.notes():
        log.warning("LoRA Loop: %s", note)
    request = request.worded()
    Trash(folders.trash_root()).age()
    nearest = folder.nearest(request.config, request.cached.needs_horizon)
    model = model_name(request.patcher)
    with folder.open(request.config, model), cache_store(request.cached.store_root) as store:
        REGISTRY.release()
        data = run_data(request, parts, folder.inputs.texts, store)
        # Read again: the folder may have been another process's until now.
        validations = ValidationBook(folder, parts.training, request.config)
        ranks, data_read, runs = request.ranks, data.training, folder.root
        ranks.tell(Errand(request.config, data_read.dataset, data_read.masks, runs, folder.inputs))
        reach = validations.reach()
        beginning = Beginning(folder, reach, origin, request.start, nearest, ranks)
        return _train(request, data, beginning, validations, book, training, joins)


class RunData(NamedTuple):
    """What is trained on, and what is only measured."""

    training: TrainingData
    held_out: TrainingData


def run_inputs(request: Request, origin: Origin | None) -> Inputs:
    """What the run is made of."""
    cached, config = request.cached, request.config
    texts = cached.text_fingerprint
    if request.clip is not None:
        texts = texts_fingerprint(cached, request.clip, config)
    assert texts is not None
    if config.embedding.start:
        texts = digest(texts, start_digest(config.embedding))
    recipe = config.identity(cached.needs_horizon)
    begun = (
        origin.identity
        if origin
        else request.start.digest(config.embedding)
        if request.start
        else ""
    )
    return Inputs(recipe, request.data_identity(), texts, fingerprint(request.patcher), begun)


def _train(
    request: Request,
    data: RunData,
    beginning: Beginning,
    validations: ValidationBook,
    book: PreviewBook,
    training: Training,
    joins: Iterable[Join],
) -> Result:
    """Train and save the result, in the run's folder, which is held."""
    config, model, run = request.config, request.model, beginning.folder.path
    progress = NodeProgress(config.steps, request.node_id)
    troubles = beginning.folder.troubles
    try:
        record_seen(data.training, config, request.vae, run, progress)
    except OSError as error:
        troubles.tell("what the model saw", error)
    metadata = Metadata(model, data.training.dataset, config, run, time.time())
    spilling = Spilling(model.device, config, paged_models(model, config.speed))
    with memory_given_back():
        previewer = _previewer(request)
        everybody = [
            validating(validations, data.held_out, config, metadata),
            recording(validations, metadata),
            checkpointing(request.checkpoints, metadata, troubles, training),
            saving_states,
            *map(always, (spilling, BandLog())),
            *joins,
            asking_for_room(model, config.speed),
            previewing(previewer, book, training, troubles),
            always(StepLine(progress, training, spilling, troubles)),
            training.watching(previewer is not None, validations.measurement),
            always(Turns(training, request.give_way)),
        ]
        to_train = model, data.training, config, beginning, progress
        outcome, lora = train_live(*to_train, everybody)
    if outcome.stopped:
        log.warning("LoRA Loop: %s", outcome.stopped)
        training.say(outcome.stopped)
    return validations.save(LoraModel(lora, metadata.after(outcome.steps)), outcome)


@contextmanager
def memory_given_back() -> Iterator[None]:
    """What training holds goes back in the end; where memory runs out, says what helps."""
    try:
        yield
    except BaseException as error:
        memory.explain_out_of_memory(error)
        raise
    finally:
        memory.give_back()


def _previewer(request: Request) -> Previewer | None:
    """Who samples previews, prompts encoded; None where nobody can want any."""
    settings, clip, vae = request.previews, request.clip, request.vae
    if settings is None or not settings.shots() or clip is None or vae is None:
        return None
    return Previewer(request.patcher, clip, vae, settings, learns=request.trains_text)


def run_data(request: Request, parts: Parts, texts: str, store: Store) -> RunData:
    """The data of a run, with all in the cache that it needs."""
    whole = TrainingData(parts.both, texts, store, live_texts=request.trains_text)
    _complete_cache(request, whole, texts, store)
    return RunData(*whole.parts(parts.training, parts.held_out))


def _complete_cache(request: Request, data: TrainingData, texts: str, store: Store) -> None:
    """Encode what is missing from the cache; raises ValueError when there is nothing to encode it with."""
    cached = data.dataset
    if request.clip is not None and not request.trains_text:
        encode_captions(cached, request.clip, request.config, store, request.node_id, texts)
    missing = data.missing(request.config)
    if missing and request.vae is not None:
        encode_pictures(cached.dataset, cached.recipe, request.vae, store, node_id=request.node_id)
        missing = data.missing(request.config)
    if missing:
        raise ValueError(
            f"The cache is missing {len(missing)} images or captions (first: {missing[0]}): files "
            "went after Cache Latents ran, or Caption Settings give captions that it did not encode. "
            "Queue again, and Cache Latents makes what is gone; for other captions connect CLIP to Train."
        )
    if request.config.loss.masked:
        data.masks = make_masks(cached, store, request.node_id)
    elif masks := sum(item.mask_digest is not None for item in cached.items):
        log.info(
            "LoRA Loop: %d image(s) with a mask, not used: masked (kohya: masked_loss) is off",
            masks,
        )
