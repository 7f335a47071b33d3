"""The loss of one batch: draws, noisy latents, the model's answer, the weighted difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .batches import BatchItem
from .config import LossConfig, TrainConfig
from .data import Batch
from .diffusion import Schedule, offset_noise
from .loss import per_sample
from .rng import generator

Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(x_t [B, 4, h, w], timesteps [B], context [B, T, C], y [B, Y]) -> the model's answer."""


@dataclass(frozen=True)
class Model:
    """A UNet as the trainer sees it: a callable, its schedule, where and in what it computes."""

    predict: Predict
    schedule: Schedule
    device: torch.device
    dtype: torch.dtype


class Draws(NamedTuple):
    """The random part of a batch. noise: [B, 4, h, w] float32; timesteps: [B] int64."""

    noise: Tensor
    timesteps: Tensor


def draw(batch: Batch, config: TrainConfig, epoch: int, timesteps: int) -> Draws:
    """Noise and timesteps of a batch: a pure function of (seed, epoch, sample), on the CPU.

    Timesteps are uniform over the whole schedule, as in kohya.
    """
    noise, steps = [], []
    for latent, item in zip(batch.latents, batch.items, strict=True):
        rng = _generator(config.seed, epoch, item)
        steps.append(torch.randint(0, timesteps, (1,), generator=rng))
        clean = torch.randn(latent.shape, generator=rng)
        shift = torch.randn((latent.shape[0], 1, 1), generator=rng)
        noise.append(offset_noise(clean, config.loss.noise_offset, shift))
    return Draws(torch.stack(noise), torch.cat(steps))


def _generator(seed: int, epoch: int, item: BatchItem) -> torch.Generator:
    return generator(seed, "diffusion", epoch, item.item_index, item.repeat)


def sample_losses(
    model: Model,
    batch: Batch,
    draws: Draws,
    config: LossConfig,
    *,
    noisy: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The loss of every sample of a batch, [B] float32, with gradients to the adapters.

    Everything lies on the model's device. noisy replaces x_t where it is already known.
    """
    schedule, timesteps = model.schedule, draws.timesteps
    if noisy is None:
        noisy = schedule.noisy(batch.latents, draws.noise, timesteps)
    answer = model.predict(
        noisy.to(model.dtype),
        timesteps.float(),
        batch.context.to(model.dtype),
        batch.y.to(model.dtype),
    )
    target = schedule.target(batch.latents, draws.noise, timesteps)
    return per_sample(answer, target, timesteps, schedule, config, weights=batch.weights, mask=mask)
