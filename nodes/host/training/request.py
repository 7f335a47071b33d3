"""What the Train node was given, and what must be refused before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ....trainer.batches.class_captions import trigger_notes
from ....trainer.batches.embedding_captions import check_token
from ....trainer.batches.plan import check_own_batches
from ....trainer.batches.training_data import TrainingData
from ....trainer.cache.latents import CachedDataset
from ....trainer.config.checkpoints import CheckpointConfig
from ....trainer.config.train import TrainConfig
from ....trainer.device.ranks import ALONE, Ranks
from ....trainer.files.digests import digest
from ....trainer.network.adapters import check_installed
from ....trainer.runs.continue_from import Origin, find_origin
from ....trainer.runs.run_folder import Inputs
from ....trainer.runs.start_from import Start
from .. import folders
from ..lora.embedding import given_vectors
from ..model import clip_training, frozen_weights, unet
from ..model.clip import check_clip
from ..model.clip_word import check_word, with_word
from ..model.host_types import Clip, ModelPatcher, Vae
from ..model.trained_model import TrainedModel
from ..model.vae import check_vae
from ..previews.previewer import PreviewConfig


@dataclass(frozen=True)
class Request:
    """What the Train node was given."""

    patcher: ModelPatcher
    cached: CachedDataset
    config: TrainConfig
    clip: Clip | None = None
    vae: Vae | None = None
    previews: PreviewConfig | None = None
    node_id: str | None = None
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    continue_stopped: bool = False
    """Go on with a run that was stopped and kept, rather than bring back what was kept."""
    continue_from: str = ""
    """The name of the run whose LoRA this one begins with; empty: none."""
    start: Start | None = None
    """The LoRA that it begins with, from elsewhere."""
    give_way: bool = False
    """Other prompts of ComfyUI's queue come first, after the step that is under way."""
    managed: bool = True
    """See TrainedModel: off for benchmarks, which keep a model on the device by themselves."""
    ranks: Ranks = ALONE
    """The processes that train together, of which this is rank 0; several only from the command line."""

    @property
    def model(self) -> TrainedModel:
        """MODEL and CLIP as they are trained."""
        return TrainedModel(self.patcher, self.clip, self.trains_text, self.managed)

    def origin(self) -> Origin | None:
        """Where the run begins, if not from scratch; raises ValueError where it cannot begin there."""
        if not self.continue_from.strip():
            return None
        return find_origin(folders.runs_root(), self.continue_from, self.config)

    @property
    def wants_previews(self) -> bool:
        return self.previews is not None and self.previews.wanted

    @property
    def trains_text(self) -> bool:
        return self.config.trains_text

    def worded(self) -> Request:
        """With a CLIP that knows the token of the embedding that is trained, if there is one."""
        embedding, clip = self.config.embedding, self.clip
        if clip is None or not embedding.is_on:
            return self
        return dataclasses.replace(self, clip=with_word(clip, embedding))

    def data_identity(self) -> str:
        """Digest of whatever in the data can change the numbers of the run."""
        identity = dataclasses.replace(self.cached, text_fingerprint=None).identity()
        options = {item.options or self.config.captions for item in self.cached.items}
        counts_beside_it = any(one.frequent_dropout for one in options)
        if counts_beside_it or self.config.loss.preservation:  # which replaces it in captions
            return digest(identity, self.cached.dataset.trigger)
        return identity

    def notes(self) -> list[str]:
        """What is odd but allowed, as sentences for the log."""
        config = self.config
        prediction = unet.prediction(self.patcher)
        return [
            *unet.notes(self.patcher),
            *(
                unet.patch_notes(self.model.trained_clip.patcher, "CLIP")
                if self.trains_text
                else ()
            ),
            *config.optimiser.notes(),
            *config.loss.notes(prediction),
            *config.speed.notes(compact=config.compact),
            *frozen_weights.notes(self.patcher, config.speed),
            *trigger_notes(self.cached, config.loss, config.captions),
            *self._token_notes(),
            *(self.start.notes(config.embedding) if self.start else ()),
        ]

    def check(self) -> None:
        """Raise ValueError for whatever would fail later: nothing has been done yet."""
        unet.check_trainable(self.patcher)
        self.config.loss.check_prediction(unet.prediction(self.patcher))
        check_own_batches(self.cached, self.config)
        check_installed(self.config.lora.algorithm)
        frozen_weights.check(self.patcher, self.config.speed)
        if self.clip is not None:
            check_clip(self.clip)
        if self.vae is not None:
            check_vae(self.vae)
        if self.trains_text:
            clip_training.check_text_training(self.clip, self.patcher)
        elif self.clip is None:
            self._check_cached_captions()
        self._check_embedding()
        self._check_start()
        if self.config.loss.preservation and self.clip is None:
            raise ValueError(
                "preservation (Noise and Loss Settings) encodes the captions once more, without the "
                "trigger: connect CLIP to Train."
            )
        problem = preview_problem(clip=self.clip is not None, vae=self.vae is not None)
        if self.wants_previews and problem:
            raise ValueError(problem)

    def _check_embedding(self) -> None:
        """Refuse an embedding that has nothing to begin with, or that no text would teach."""
        embedding = self.config.embedding
        if embedding.is_on and self.clip is not None:
            check_word(self.clip, embedding)
            given_vectors(self.clip, embedding, self.start)
        self._token_notes()

    def _token_notes(self) -> list[str]:
        embedding = self.config.embedding
        return check_token(self.cached, embedding, self.config.captions) if embedding.is_on else []

    def _check_start(self) -> None:
        """Refuse a LoRA to start from that does not fit the settings."""
        if self.start is None:
            if self.config.lora.dim_from_weights:
                raise ValueError(
                    "dim_from_weights takes ranks from the LoRA that training starts from: connect one "
                    "to start_from, or turn it off in LoRA Settings."
                )
            return
        if not self.config.trains_lora:
            raise ValueError(
                "Embedding Settings train an embedding alone, and start_from is a LoRA to go on training: "
                "disconnect it, or set trains to embedding and LoRA."
            )
        if self.continue_from.strip():
            raise ValueError(
                "start_from and continue_from both say where to begin: disconnect the one or empty the "
                "other."
            )
        self.start.check_embedding(self.config.embedding)
        model = self.model
        self.start.targets(model.unet, model.encoders, self.config)

    def _check_cached_captions(self) -> None:
        """Refuse to go without CLIP where the cache cannot hold all encodings."""
        fingerprint = self.cached.text_fingerprint
        if fingerprint is None:
            raise ValueError(
                "The captions are not encoded yet: connect CLIP to Cache Latents or to Train."
            )
        if TrainingData(self.cached, fingerprint).varies(self.config.captions):
            raise ValueError(
                "The captions change from one use to the next (shuffle, dropout, wildcards or optional "
                "tags) and are encoded while training: connect CLIP to Train."
            )


class Errand(NamedTuple):
    """What rank 0 tells the others before the first step. masks: see TrainingData."""

    config: TrainConfig
    dataset: CachedDataset
    masks: tuple[str | None, ...]
    runs: Path
    inputs: Inputs


def preview_problem(*, clip: bool, vae: bool) -> str | None:
    """What previews are missing, given whether CLIP and VAE are connected; None when nothing."""
    missing = [name for name, there in (("CLIP", clip), ("VAE", vae)) if not there]
    if not missing:
        return None
    return (
        f"Previews need {' and '.join(missing)} on Train: connect the checkpoint loader's output, "
        "or disconnect Preview Settings."
    )
