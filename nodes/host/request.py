"""What the Train node was given, and what must be refused before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ...trainer.adapters import check_installed
from ...trainer.cache import CachedDataset
from ...trainer.checkpoint_config import CheckpointConfig
from ...trainer.class_captions import trigger_notes
from ...trainer.config import TrainConfig
from ...trainer.data import TrainingData
from ...trainer.digests import digest
from . import text, unet
from .sampling import PreviewSettings


@dataclass(frozen=True)
class Request:
    """What the Train node was given."""

    patcher: Any
    cached: CachedDataset
    config: TrainConfig
    clip: Any = None
    vae: Any = None
    previews: PreviewSettings | None = None
    prefetch: bool = False
    node_id: str | None = None
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    continue_stopped: bool = False
    """Go on with a run that was stopped and kept, rather than bring back what was kept."""

    @property
    def wants_previews(self) -> bool:
        return self.previews is not None and self.previews.wanted

    def data_identity(self) -> str:
        """Digest of whatever in the data can change the numbers of the run."""
        identity = dataclasses.replace(self.cached, text_fingerprint=None).identity()
        if self.config.loss.preservation:  # replaces the trigger in captions
            return digest(identity, self.cached.dataset.trigger)
        return identity

    def notes(self) -> list[str]:
        """What is odd but allowed, as sentences for the log."""
        config = self.config
        prediction = unet.prediction(self.patcher)
        return [
            *unet.notes(self.patcher),
            *config.optimiser.notes(),
            *config.loss.notes(prediction),
            *trigger_notes(self.cached, config.loss),
        ]

    def check(self) -> None:
        """Raise ValueError for whatever would fail later: nothing has been done yet."""
        unet.check_trainable(self.patcher)
        self.config.loss.check_prediction(unet.prediction(self.patcher))
        check_installed(self.config.lora.algorithm)
        if self.clip is not None:
            text.check_clip(self.clip)
        elif self.cached.text_fingerprint is None:
            raise ValueError(
                "The captions are not encoded yet: connect CLIP to Cache Latents or to Train."
            )
        elif TrainingData(self.cached, self.cached.text_fingerprint).varies(self.config.captions):
            raise ValueError(
                "The captions differ from showing to showing (shuffle, dropout, wildcards or optional "
                "tags) and are encoded while training: connect CLIP to Train."
            )
        if self.config.loss.preservation and self.clip is None:
            raise ValueError(
                "preservation (Noise and Loss Settings) encodes the captions once more, without the "
                "trigger: connect CLIP to Train."
            )
        problem = preview_problem(clip=self.clip is not None, vae=self.vae is not None)
        if self.wants_previews and problem:
            raise ValueError(problem)


def preview_problem(*, clip: bool, vae: bool) -> str | None:
    """What previews lack, given whether CLIP and VAE are connected; None when nothing."""
    lacking = [name for name, there in (("CLIP", clip), ("VAE", vae)) if not there]
    if not lacking:
        return None
    return (
        f"Previews need {' and '.join(lacking)} on Train: connect the checkpoint loader's output, "
        "or disconnect Preview Settings."
    )
