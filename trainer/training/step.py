"""The loss of one batch: draws, noisy latents, the prediction, the weighted difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..batches.plan import BatchItem
from ..batches.training_data import Batch
from ..cache.texts import Encode
from ..config.loss import LossConfig
from ..config.train import TrainConfig
from ..device.transfer import send
from ..rng import generator
from ..sdxl.schedule import Schedule
from .loss import per_sample
from .noise import multires_noise, nearest, offset_noise
from .timesteps import drawn_timestep

Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(x_t [B, 4, h, w], timesteps [B], context [B, T, C], y [B, Y]) -> the prediction."""


@dataclass(frozen=True)
class Model:
    """A UNet as the trainer sees it: a callable, its schedule, where and in what it computes.

    ``encode``: text encoders that are trained with it; None: encodings come from the cache.
    ``damage``: names of the weights that are not finite; reads all of them.
    ``pins``: whether what goes to the device and comes from it may go through pinned memory.
    """

    predict: Predict
    schedule: Schedule
    device: torch.device
    dtype: torch.dtype
    encode: Encode | None = None
    damage: Callable[[], list[str]] = list
    pins: bool = False

    def bring(self, batch: Batch, draws: Draws) -> tuple[Batch, Draws]:
        """Both on its device, where they are not waited for if it may pin."""
        return batch.to(self.device, pins=self.pins), draws.to(self.device, pins=self.pins)

    def prediction(self, noisy: Tensor, timesteps: Tensor, context: Tensor, y: Tensor) -> Tensor:
        """What it makes of x_t [B, 4, h, w]; timesteps: [B] int64; all cast to what it computes in."""
        dtype = self.dtype
        told = self.schedule.told(timesteps)
        return self.predict(noisy.to(dtype), told, context.to(dtype), y.to(dtype))


class Draws(NamedTuple):
    """The random part of a batch. noise: [B, 4, h, w] float32, the target's; timesteps: [B] int64.

    perturbed: what is added to the latents instead, under input perturbation.
    """

    noise: Tensor
    timesteps: Tensor
    perturbed: Tensor | None = None

    def to(self, device: torch.device, *, pins: bool = False) -> Draws:
        """On the device, with ``pins`` not waited for (see trainer/device/transfer.py)."""
        noise, timesteps = (send(part, device, pins=pins) for part in self[:2])
        perturbed = self.perturbed
        if perturbed is not None:
            perturbed = send(perturbed, device, pins=pins)
        return Draws(noise, timesteps, perturbed)


def sampled(batch: Batch, seed: int, epoch: int) -> Batch:
    """The batch with a sample of what the VAE gave in place of its mean, where the deviations are there.

    A pure function of (seed, epoch, sample), on the CPU.
    """
    if batch.deviations is None:
        return batch
    noises = []
    for latent, item in zip(batch.latents, batch.items, strict=True):
        rng = generator(seed, "vae", epoch, item.item_index, item.repeat)
        noises.append(torch.randn(latent.shape, generator=rng))
    latents = batch.latents + batch.deviations * torch.stack(noises)
    return dataclasses.replace(batch, latents=latents, deviations=None)


def draw(batch: Batch, config: TrainConfig, epoch: int, timesteps: int) -> Draws:
    """Noise and timesteps of a batch: a pure function of (seed, epoch, sample), on the CPU.

    By default timesteps are uniform over the configured range, as in kohya.
    """
    rows = []
    for latent, item in zip(batch.latents, batch.items, strict=True):
        rng = sample_generator(config.seed, epoch, item)
        step = drawn_timestep(config.loss, timesteps, rng)
        noise = _noise(latent[None], config.loss, rng)
        rows.append((noise, step, _perturbed(noise, config.loss, rng)))
    noise, steps, perturbed = (torch.cat(column) for column in zip(*rows, strict=True))
    return Draws(noise, steps, perturbed if config.loss.ip_noise_gamma else None)


def _noise(latent: Tensor, config: LossConfig, rng: torch.Generator) -> Tensor:
    """The noise of one sample [1, 4, h, w]. Plain and shift are always drawn, others when on."""

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=rng)

    def uniform() -> float:
        return float(torch.rand(1, generator=rng))

    noise, shift = normal(latent.shape), normal((*latent.shape[:2], 1, 1))
    if config.immiscible:
        others = normal((config.immiscible - 1, *latent.shape[1:]))
        noise = nearest(torch.cat([noise, others]), latent)
    if config.noise_offset:
        strength = uniform() if config.noise_offset_random_strength else 1.0
        offset = config.noise_offset * strength
        noise = offset_noise(noise, offset, shift, latent, config.adaptive_noise_scale)
    if config.multires_iterations:
        noise = multires_noise(
            noise, config.multires_iterations, config.multires_discount, uniform, normal
        )
    return noise


def _perturbed(noise: Tensor, config: LossConfig, rng: torch.Generator) -> Tensor:
    """Input perturbation (Ning et al. 2023): more noise on the latents than the target knows of."""
    if not config.ip_noise_gamma:
        return noise
    more = torch.randn(noise.shape, generator=rng)
    strength = torch.rand(1, generator=rng) if config.ip_noise_gamma_random_strength else 1.0
    return noise + config.ip_noise_gamma * strength * more


def sample_generator(seed: int, epoch: int, item: BatchItem) -> torch.Generator:
    """What timestep and noise of a sample are drawn from, in this order."""
    return generator(seed, "diffusion", epoch, item.item_index, item.repeat)


def noisy_latents(schedule: Schedule, batch: Batch, draws: Draws) -> Tensor:
    """x_t of a batch, [B, 4, h, w] float32."""
    noise = draws.noise if draws.perturbed is None else draws.perturbed
    return schedule.noisy(batch.latents, noise, draws.timesteps)


def sample_losses(
    model: Model,
    batch: Batch,
    draws: Draws,
    config: LossConfig,
    *,
    noisy: Tensor | None = None,
    target: Tensor | None = None,
) -> Tensor:
    """The loss of every sample of a batch, [B] float32, with gradients to the adapters.

    Everything lies on the model's device. noisy replaces x_t where it is already known; target what
    the model should predict.
    """
    schedule, timesteps = model.schedule, draws.timesteps
    if noisy is None:
        noisy = noisy_latents(schedule, batch, draws)
    prediction = model.prediction(noisy, timesteps, batch.context, batch.y)
    if target is None:
        target = schedule.target(batch.latents, draws.noise, timesteps)
    return per_sample(
        prediction, target, timesteps, schedule, config, weights=batch.weights, mask=batch.mask
    )
