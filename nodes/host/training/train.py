"""A whole training inside ComfyUI: checks, the stored result, or a training that is really done."""

from __future__ import annotations

import dataclasses
import logging

from ....trainer.batches.plan import with_steps
from ....trainer.batches.training_data import TrainingData
from ....trainer.files.store import Store
from ....trainer.runs.run_folder import Inputs, Result, RunFolder
from ....trainer.validation.book import ValidationBook
from ....trainer.validation.split import split
from .. import folders
from ..cache_folder import cache_store
from ..dataset.cache import encode_captions, encode_pictures, make_masks
from ..dataset.tagger_session import REGISTRY
from ..model import clip
from ..model.fingerprint import fingerprint
from ..previews.preview_book import PreviewBook
from .first_step import record_seen
from .live_training import LiveTraining
from .observers import Watching
from .request import Request
from .stop_and_keep import TRAININGS

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
        texts = clip.clip_fingerprint(request.clip, request.cached.texts)
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
        training = LiveTraining(request, data, book, folder, watching, origin)
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
