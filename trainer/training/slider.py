"""The loss of a concept slider (Gandikota et al. 2023, arXiv:2311.12092): the model is its own teacher.

The LoRA at strength 1 learns to predict for the target what the model predicts plus guidance times the
difference between positive and negative, and at strength -1 the opposite. The authors train one direction
in a step of prompts; here both are, as they do it with pairs of images.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..batches.training_data import Batch
from ..config.train import TrainConfig
from ..network.network import Network
from .step import Draws, Model, sample_losses

CFG = 3.0
"""Of the sampling from noise, as in the authors' code."""


def slider_terms(
    model: Model, network: Network, batch: Batch, draws: Draws, config: TrainConfig
) -> Iterator[Tensor]:
    """The terms of a batch's loss, each [B] float32 with gradients: at strength 1, then at -1.

    Propagate each back before the next is asked for. Everything lies on the model's device.
    """
    assert batch.others is not None and batch.others_y is not None
    timesteps, eta = draws.timesteps, config.slider.guidance
    with torch.no_grad():
        with network.dropping(None):
            noisy = sampled_to(model, batch, draws, config.slider.sampling_steps)
        with network.at_strength(0.0):
            own = model.prediction(noisy, timesteps, batch.context, batch.y).float()
            ends = [
                model.prediction(noisy, timesteps, batch.others[:, k], batch.others_y[:, k])
                for k in (0, 1)
            ]
        away = eta * (ends[0].float() - ends[1].float())
    for strength in (1.0, -1.0):
        with network.at_strength(strength):
            target = own + strength * away
            yield sample_losses(model, batch, draws, config.loss, noisy=noisy, target=target)


def sampled_to(model: Model, batch: Batch, draws: Draws, steps: int) -> Tensor:
    """What the model makes of the noise for the batch's prompts, as far as its timesteps: x_t [B, 4, h, w] float32.

    DDIM without noise (Song et al. 2021), each sample in ``steps`` equal steps from the last timestep to
    its own, with classifier-free guidance against no prompt. What was drawn as noise is where it begins.
    """
    assert batch.others is not None and batch.others_y is not None
    schedule, last = model.schedule, len(model.schedule) - 1
    way = draws.timesteps - last
    now = torch.full_like(draws.timesteps, last)
    noisy = schedule.noisy(torch.zeros_like(draws.noise), draws.noise, now)
    for step in range(1, steps + 1):
        without = model.prediction(noisy, now, batch.others[:, -1], batch.others_y[:, -1]).float()
        wanted = model.prediction(noisy, now, batch.context, batch.y).float()
        guided = without + CFG * (wanted - without)
        latents, noise = schedule.apart(noisy, guided, now)
        now = last + torch.div(way * step, steps, rounding_mode="trunc")
        noisy = schedule.noisy(latents, noise, now)
    return noisy
