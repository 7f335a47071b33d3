"""Prior preservation: the model's own answer, adapters off, as the target, so that it keeps what it knows.

Two ways: pictures whose target it is (kohya's diff_output_preservation), and an additional term for
every picture, under its caption with the trigger replaced (ai-toolkit's differential output
preservation), for which no further pictures are needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from .config import LossConfig
from .data import Batch
from .network import Network
from .step import Draws, Model, noisy_latents, sample_losses


def loss_terms(
    model: Model, network: Network, batch: Batch, draws: Draws, config: LossConfig
) -> Iterator[Tensor]:
    """The terms of a batch's loss, each [B] float32 with gradients: first its own, then the additional one.

    Propagate each back before the next is asked for: so memory holds one at a time. Everything lies on
    the model's device. The additional term has the picture's weight and no mask.
    """
    noisy = noisy_latents(model.schedule, batch, draws)
    target = None
    kept = [row for row, item in enumerate(batch.items) if item.preserves]
    if kept:
        target = model.schedule.target(batch.latents, draws.noise, draws.timesteps).clone()
        rows = (noisy, draws.timesteps, batch.context, batch.y)
        target[kept] = _base_answer(model, network, *(tensor[kept] for tensor in rows))
    yield sample_losses(model, batch, draws, config, noisy=noisy, target=target)
    if batch.class_context is None or batch.class_y is None:
        return
    other = dataclasses.replace(batch, context=batch.class_context, y=batch.class_y, mask=None)
    target = _base_answer(model, network, noisy, draws.timesteps, other.context, other.y)
    losses = sample_losses(model, other, draws, config, noisy=noisy, target=target)
    yield config.preservation * losses


def _base_answer(
    model: Model, network: Network, noisy: Tensor, timesteps: Tensor, context: Tensor, y: Tensor
) -> Tensor:
    """What the model answers without the adapters, [B, 4, h, w] float32, without gradients."""
    with torch.no_grad(), network.at_strength(0.0):
        return model.answer(noisy, timesteps, context, y).float()
