"""How far the VAE's latents of an image spread: it gives a normal distribution, of which ComfyUI takes the mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ....trainer.cache.encoding import TooLarge
from .host_types import Vae
from .vae import encode_pixels

_MOST_LOG_VARIANCE, _LEAST_LOG_VARIANCE = 20.0, -30.0
"""ComfyUI and diffusers cut the VAE's logarithm of the variance here."""


def encode(vae: Vae, pixels: np.ndarray) -> Tensor:
    """As `encode_pixels`, with the deviations behind: [N, 8, H/8, W/8]. The VAE is run twice.

    Raises TooLarge as `encode_pixels` does.
    """
    try:
        means = encode_pixels(vae, pixels)
        with _giving_deviations(vae):
            return torch.cat([means, encode_pixels(vae, pixels)], dim=1)
    except TooLarge as error:
        tiles = error.in_tiles
    raise TooLarge(lambda: _in_tiles(vae, tiles))


def _in_tiles(vae: Vae, tiles: Callable[[], Tensor]) -> Tensor:
    means = tiles()
    with _giving_deviations(vae):
        return torch.cat([means, tiles()], dim=1)


def check(vae: Vae) -> None:
    """Refuse a VAE that has no such distribution. Raises ValueError."""
    if not isinstance(_last_part(vae), nn.Module):
        raise ValueError(
            "fresh_samples needs a VAE that gives a mean and a deviation, and this one gives latents alone: "
            "turn fresh_samples off, or connect the VAE output of the checkpoint loader."
        )


def _last_part(vae: Any) -> Any:
    """What makes latents of the mean and the log-variance."""
    part = getattr(vae.first_stage_model, "regularization", None)
    return None if getattr(part, "sample", None) is not False else part


@contextmanager
def _giving_deviations(vae: Vae) -> Iterator[None]:
    """Its encoding gives the deviations instead of the means."""

    def deviation(both: Tensor) -> tuple[Tensor, None]:
        _, log_variance = both.chunk(2, dim=1)
        cut = log_variance.clamp(_LEAST_LOG_VARIANCE, _MOST_LOG_VARIANCE)
        return torch.exp(0.5 * cut), None

    part = _last_part(vae)
    part.forward = deviation
    try:
        yield
    finally:
        del part.forward
