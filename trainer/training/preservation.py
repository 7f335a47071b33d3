"""Prior preservation: the model's own prediction, adapters off, as the target, so that it keeps what it knows.

Two ways: images whose target it is (kohya's diff_output_preservation), and an additional term for
every image, under its caption with the trigger replaced (ai-toolkit's differential output
preservation), for which no further images are needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from ..batches.training_data import Batch
from ..config.loss import LossConfig
from ..network.network import Network
from .live_encoding import with_texts
from .step import Draws, Model, noisy_latents, sample_losses


def loss_terms(
    model: Model, network: Network, batch: Batch, draws: Draws, config: LossConfig
) -> Iterator[Tensor]:
    """The terms of a batch's loss, each [B] float32 with gradients: first its own, then the additional one.

    Propagate each back before the next is asked for: so memory holds one at a time. Everything lies on
    the model's device. The additional term has the image's weight and no mask.
    """
    noisy = noisy_latents(model.schedule, batch, draws)
    worded, target = with_texts(model, batch, network), None
    kept = [row for row, item in enumerate(batch.items) if item.preserves]
    if kept:
        rows = list(model.schedule.target(batch.latents, draws.noise, draws.timesteps))
        answers = _base_answer(model, network, batch, noisy, draws, kept)
        for row, answer in zip(kept, answers, strict=True):
            rows[row] = answer
        target = torch.stack(rows)
    yield sample_losses(model, worded, draws, config, noisy=noisy, target=target)
    del worded
    if batch.class_context is None or batch.class_y is None:
        return
    items = tuple(item._replace(text=item.class_text) for item in batch.items)
    other = dataclasses.replace(
        batch, context=batch.class_context, y=batch.class_y, mask=None, items=items
    )
    target = _base_answer(model, network, other, noisy, draws, list(range(len(items))))
    other = with_texts(model, other, network)
    losses = sample_losses(model, other, draws, config, noisy=noisy, target=target)
    yield config.preservation * losses


def _base_answer(
    model: Model, network: Network, batch: Batch, noisy: Tensor, draws: Draws, rows: list[int]
) -> Tensor:
    """What the model predicts to some rows without the adapters, those of the text encoders too.

    [rows, 4, h, w] float32, without gradients.
    """
    with torch.no_grad(), network.at_strength(0.0):
        batch = with_texts(model, batch, network)
        told = noisy, draws.timesteps, batch.context, batch.y
        return model.prediction(*(_of(tensor, rows) for tensor in told)).float()


def _of(tensor: Tensor, rows: list[int]) -> Tensor:
    """Some rows; an index would have to be sent to the device and be waited for."""
    return torch.stack([tensor[row] for row in rows])
