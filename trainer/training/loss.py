"""The loss of one batch, in epsilon or v space, with kohya's weightings and their order."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config.loss import LossConfig
from ..sdxl.schedule import Schedule

MAX_WEIGHT_SNR = 1000.0
"""kohya caps the SNR here in every weighting but min-SNR."""


def huber_threshold(timesteps: Tensor, schedule: Schedule, config: LossConfig) -> Tensor:
    """The Huber constant c per sample, [B] float32 (kohya's `--huber_schedule`).

    huber_scale has no effect on the `snr` schedule, as in kohya.
    """
    c = config.huber_c
    if config.huber_schedule == "exponential":
        rate = -math.log(c) / len(schedule)
        return torch.exp(-rate * timesteps.float()) * config.huber_scale
    if config.huber_schedule == "snr":
        ac = schedule.alphas_cumprod[timesteps]
        sigma = ((1.0 - ac) / ac).sqrt()
        return (1.0 - c) / (1.0 + sigma) ** 2 + c
    return torch.full_like(timesteps, c * config.huber_scale, dtype=torch.float32)


def elementwise(prediction: Tensor, target: Tensor, c: Tensor | None, config: LossConfig) -> Tensor:
    """Loss per element, [B, C, H, W] float32. c: [B], only for the Huber losses."""
    difference = prediction - target
    if config.loss_type == "l2":
        return difference**2
    if config.loss_type == "l1":
        return difference.abs()
    assert c is not None
    c = c.view(-1, 1, 1, 1)
    factor = 2 * c if config.loss_type == "huber" else 2.0
    return factor * ((difference**2 + c**2).sqrt() - c)


def timestep_weighting(
    loss: Tensor, timesteps: Tensor, schedule: Schedule, config: LossConfig
) -> Tensor:
    """Apply the SNR weightings in kohya's order to the per-sample loss [B]."""
    snr = schedule.snr[timesteps]
    v = schedule.prediction == "v"
    if config.min_snr_gamma:
        loss = loss * snr.clamp(max=config.min_snr_gamma) / (snr + 1 if v else snr)
    capped = snr.clamp(max=MAX_WEIGHT_SNR)
    v_scale = capped / (capped + 1)
    if config.scale_v_pred:
        loss = loss * v_scale
    if config.v_pred_like:
        loss = loss + loss / v_scale * config.v_pred_like
    if config.debiased:
        loss = loss / (capped + 1) if v else loss / capped.sqrt()
    return loss


def per_sample(
    prediction: Tensor,
    target: Tensor,
    timesteps: Tensor,
    schedule: Schedule,
    config: LossConfig,
    *,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The weighted loss of every sample, [B] float32; the batch's loss is its plain mean.

    prediction, target: [B, C, h, w]; timesteps: [B] int64; weights: [B];
    mask: [B, H, W] in 0..1 at the pixels' size or the latents', to which it is resized by area
    (kohya's masked loss: what is left is not scaled up).
    """
    prediction, target = prediction.float(), target.float()
    huber = config.loss_type in ("huber", "smooth_l1")
    c = huber_threshold(timesteps, schedule, config) if huber else None
    loss = elementwise(prediction, target, c, config)
    if mask is not None:
        loss = loss * F.interpolate(mask[:, None].float(), size=loss.shape[-2:], mode="area")
    loss = loss.mean(dim=(1, 2, 3))
    if weights is not None:
        loss = loss * weights
    return timestep_weighting(loss, timesteps, schedule, config)
