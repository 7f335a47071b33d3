"""What can be set where losses are measured without training."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...base.config import Config, Problems
from .captions import CaptionConfig
from .loss import LossConfig
from .train import TrainConfig
from .validation import ValidationConfig


@dataclass(frozen=True)
class MeasureConfig(Config):
    """Which noise every image is measured with, and how its loss is made."""

    title = "Measuring"

    timesteps: int = 4
    """Each image is measured once in each of so many equal parts of the timestep range, 2 to 100."""
    seeds: int = 3
    """All of it is done with the noise of so many seeds, 1 to 100."""
    seed: int = 0
    """The first of them, from 0 to 2^62; validation with the same seed draws the same noise."""
    shared: bool = False
    """All images of a shape get the same noise and timesteps, so that one can be compared with another."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The prediction is judged in this way."""
    captions: CaptionConfig = field(default_factory=CaptionConfig)
    """Captions are read in this way, unless their folder has options of its own; nothing is dropped."""

    def check(self, problems: Problems) -> None:
        problems.need(
            2 <= self.timesteps <= 100, f"timesteps is {self.timesteps}; it must be 2..100"
        )
        problems.need(1 <= self.seeds <= 100, f"seeds is {self.seeds}; it must be 1..100")
        problems.need(0 <= self.seed <= 2**62, f"seed is {self.seed}; it must be 0..2^62")

    def validation(self, number: int = 0) -> TrainConfig:
        """A training whose validation draws the noise of one of the seeds, counted from 0."""
        drawn = ValidationConfig(timesteps=self.timesteps, seed=self.seed + number)
        return TrainConfig(loss=self.loss, captions=self.captions, validation=drawn)
