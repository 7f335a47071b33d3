"""The noise of a training step: kohya's variations on plain Gaussian noise, each a pure function.

What is random is an argument, so that a draw depends on (seed, epoch, sample) alone (see trainer/training/step.py).
kohya draws the strengths and ratios once for a batch; here each sample has its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def offset_noise(
    noise: Tensor,
    offset: float | Tensor,
    shift: Tensor,
    latents: Tensor | None = None,
    adaptive_scale: float = 0.0,
) -> Tensor:
    """Noise offset (Guttenberg 2023): noise + offset * shift, shift [B, C, 1, 1] standard normal.

    With ``adaptive_scale`` the offset of each channel grows by that share of its mean in ``latents``
    [B, C, h, w], but never below 0. As in kohya, the shifted noise is also the target.
    """
    if adaptive_scale:
        assert latents is not None
        means = latents.mean(dim=(2, 3), keepdim=True).abs()
        return noise + (offset + adaptive_scale * means).clamp(min=0.0) * shift
    return noise + offset * shift


def multires_noise(
    noise: Tensor,
    iterations: int,
    discount: float,
    uniform: Callable[[], float],
    normal: Callable[[tuple[int, ...]], Tensor],
) -> Tensor:
    """Multi-resolution (pyramid) noise (Whitaker 2023) of unit deviation: [B, C, h, w] -> the same.

    Adds up to ``iterations`` coarser noises, each shrunk by a ratio of 2 to 4 to the power of its
    number and weighted by ``discount`` to that power, until a side is 1.
    """
    *lead, height, width = noise.shape
    for level in range(iterations):
        ratio = (uniform() * 2 + 2) ** level
        size = max(1, int(height / ratio)), max(1, int(width / ratio))
        coarse = normal((*lead, *size))
        noise = noise + F.interpolate(coarse, (height, width), mode="bilinear") * discount**level
        if 1 in size:
            break
    return noise / noise.std()


def nearest(noises: Tensor, latent: Tensor) -> Tensor:
    """The noise [1, C, h, w] of [K, C, h, w] at the least distance from the latent [1, C, h, w].

    Immiscible diffusion (Li et al. 2024) pairs the images of a batch with its noises; here each image
    chooses among noises of its own, as in its successor (Li et al. 2025), so that it does not matter
    what else is in the batch. What is chosen is no longer standard normal: it leans towards the
    latent and is a little shorter, the more the fewer numbers a latent has.
    """
    distances = (noises - latent).flatten(1).square().sum(dim=1)
    return noises[distances.argmin()][None]


def draw_timestep(lowest: int, highest: int, rng: torch.Generator) -> Tensor:
    """One timestep, int64 [1], uniform in [lowest, highest); ``highest`` where that is empty, as in kohya."""
    if lowest >= highest:
        return torch.tensor([highest])
    return torch.randint(lowest, highest, (1,), generator=rng)
