"""What came of the micro batches of a step, of all ranks where there are several."""

from __future__ import annotations

from torch import Tensor

from ..device.ranks import Ranks
from ..device.transfer import read
from ..optim.optimiser import Optimiser
from .gradients import Losses
from .loss_by_timestep import BandLosses
from .prefetch import Part

PIXELS_PER_LATENT = 64
"""SDXL's VAE makes one of 8 x 8 pixels."""


class Tally:
    """The numbers of one step, in the order of its samples."""

    def __init__(self) -> None:
        self.pixels = 0
        self._timesteps: list[list[int]] = []
        self._computed: list[Tensor] = []
        self._numbers: list[list[float]] = []

    def add(self, part: Part, losses: Losses) -> None:
        """Of the next micro batch; the device is not waited for."""
        self.pixels += part.micro.batch.latents[:, 0].numel() * PIXELS_PER_LATENT
        self._timesteps.append(part.timesteps)
        self._computed += losses

    def meet(self, ranks: Ranks, optimiser: Optimiser) -> None:
        """Take in what the other ranks have, numbers and gradients.

        The device is waited for first, so that nobody waits on a card for a rank that has ended.

        Raises:
            RankLost: another rank has ended.
        """
        own = read(self._computed) if self._computed else []
        self._computed = []
        said = (self.pixels, self._timesteps, own, optimiser.reached())
        pixels, timesteps, numbers, reached = zip(*ranks.gather(said), strict=True)
        self.pixels = sum(pixels)
        self._timesteps = [steps for found in timesteps for steps in found]
        self._numbers = [values for found in numbers for values in found]
        optimiser.exchange(ranks.sum, [any(places) for places in zip(*reached, strict=True)])

    def read(self, norm: Tensor) -> float:
        """Wait for all numbers, once; that of ``norm``, a scalar on the device."""
        (value,), *numbers = read([norm.view(1), *self._computed])
        self._computed = []
        self._numbers += numbers
        return value

    def loss(self, bands: BandLosses) -> float:
        """The sum of all terms, once read; the samples' losses go into the bands of their timesteps."""
        total = 0.0
        of_each = zip(self._timesteps, self._numbers[::2], self._numbers[1::2], strict=True)
        for steps, terms, samples in of_each:
            bands.add(steps, samples)
            for term in terms:
                total += term
        return total
