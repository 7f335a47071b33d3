"""What can be set about validation: which images are held out, how often they are measured, what follows."""

from __future__ import annotations

from dataclasses import dataclass

from ...base.config import Config, Problems


@dataclass(frozen=True)
class ValidationConfig(Config):
    """Held-out images and what is made of them (kohya: validation_split and its kin).

    Only what is held out can change the numbers of a step (`TrainConfig.identity`); the rest watches.
    """

    title = "Validation settings"

    held_out: float = 0.0
    """Below 1 this is the share of the training images that is never trained on, else their number; 0 for
    none."""
    every: int = 250
    """A validation comes every so many optimiser steps (kohya: validate_every_n_steps); 0 for never."""
    patience: int = 0
    """So many validations in a row that are no better than the best end the run; 0 for never."""
    keep_best: bool = False
    """The adapters of the best validation are kept on disk."""
    every_epochs: int = 0
    """A validation comes every so many epochs (kohya: validate_every_n_epochs); 0 for never."""
    timesteps: int = 8
    """Each image is measured once in each of so many equal parts of the timestep range, 2 to 100."""
    max_pictures: int = 0
    """At most so many of the held-out images are measured (kohya: max_validation_steps); 0 for all."""
    seed: int = 0
    """This number, from 0 to 2^63-1, fixes which images are held out, and their noise and timesteps
    (kohya: validation_seed)."""

    def check(self, problems: Problems) -> None:
        for name in ("held_out", "every", "patience", "every_epochs", "max_pictures"):
            value = getattr(self, name)
            problems.need(value >= 0, f"{name} is {value}; it must be 0 or more")
        problems.need(
            self.held_out < 1 or self.held_out.is_integer(),
            f"held_out is {self.held_out:g}; give a share below 1 or a whole number of images",
        )
        problems.need(
            2 <= self.timesteps <= 100, f"timesteps is {self.timesteps}; it must be 2..100"
        )
        problems.need(0 <= self.seed < 2**63, f"seed is {self.seed}; it must be 0..2^63-1")
        problems.need(
            self.is_on or not (self.patience or self.keep_best),
            "patience and keep_best need validations: set held_out, and every or every_epochs",
        )

    @property
    def is_on(self) -> bool:
        """Whether anything is measured."""
        return self.held_out > 0 and (self.every > 0 or self.every_epochs > 0)
