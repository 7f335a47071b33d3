"""What the Train node was given, and what must be refused before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...trainer.cache import CachedDataset
from ...trainer.config import TrainConfig
from ...trainer.data import TrainingData
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

    @property
    def wants_previews(self) -> bool:
        return self.previews is not None and self.previews.wanted

    def notes(self) -> list[str]:
        """What is odd but allowed, as sentences for the log."""
        config = self.config
        prediction = unet.prediction(self.patcher)
        return [
            *unet.notes(self.patcher),
            *config.optimiser.notes(),
            *config.loss.notes(prediction),
        ]

    def check(self) -> None:
        """Raise ValueError for whatever would fail later: nothing has been done yet."""
        unet.check_trainable(self.patcher)
        self.config.loss.check_prediction(unet.prediction(self.patcher))
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
