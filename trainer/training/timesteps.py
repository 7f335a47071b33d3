"""Which timesteps are drawn: distributions over the range, as probabilities of its whole numbers.

A place u in (0, 1) of the range [min_timestep, max_timestep), 0 the least noisy end, has the logit
x = ln(u / (1 - u)). With location m and scale s

- sigmoid: x is normal with mean m and deviation s: logit-normal (Esser et al. 2024). kohya's
  `--timestep_sampling sigmoid` has m = 0 and s = `--sigmoid_scale`, its `shift` m = ln(shift);
- laplace: x is Laplace-distributed around m with scale s (Hang et al. 2024, there over log SNR): a
  sharper peak and longer tails;
- beta: u is Beta(a, b) distributed (Zheng et al. 2024) with mean 1 / (1 + exp(-m)) and a + b = 2 / s, so
  that m = 0 and s = 1 are uniform, a smaller s has a hill and a larger one both ends.

kohya's sigmoid and shift are cut to whole timesteps as here: the place times the length, rounded down.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..config.loss import LossConfig, TimestepSampling
from .noise import draw_timestep

_TERMS = 80
"""Of the series of the beta distribution, which halve from one to the next at least."""


def drawn_timestep(config: LossConfig, timesteps: int, rng: torch.Generator) -> Tensor:
    """One timestep of a schedule of so many, int64 [1], from the settings' range and distribution."""
    lowest, highest = config.min_timestep, min(config.max_timestep, timesteps)
    if config.timestep_sampling == "uniform" or lowest >= highest:
        return draw_timestep(lowest, highest, rng)
    below = _below(
        config.timestep_sampling,
        config.timestep_location,
        config.timestep_scale,
        highest - lowest,
    )
    place = torch.rand(1, generator=rng, dtype=torch.float64)
    return lowest + torch.searchsorted(below[1:-1], place, right=True)


def probabilities(config: LossConfig, timesteps: int) -> Tensor:
    """How often each timestep of a schedule of so many is drawn, float64 [timesteps], with the sum 1."""
    found = torch.zeros(timesteps, dtype=torch.float64)
    lowest, highest = config.min_timestep, min(config.max_timestep, timesteps)
    if lowest >= highest:
        return found
    count = highest - lowest
    if config.timestep_sampling == "uniform":
        found[lowest:highest] = 1 / count
    else:
        kind, location = config.timestep_sampling, config.timestep_location
        found[lowest:highest] = _below(kind, location, config.timestep_scale, count).diff()
    return found


@lru_cache(maxsize=16)
def _below(kind: TimestepSampling, location: float, scale: float, count: int) -> Tensor:
    """How much lies below each of the edges of ``count`` equal parts of the range, float64 [count + 1]."""
    edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    if kind == "beta":
        mean = float(torch.tensor(location, dtype=torch.float64).sigmoid())
        return _beta_below(edges, 2 * mean / scale, 2 * (1 - mean) / scale)
    away = (edges.logit() - location) / scale
    if kind == "sigmoid":
        return torch.special.ndtr(away)
    tail = 0.5 * torch.exp(-away.abs())
    return torch.where(away < 0, tail, 1 - tail)


def _beta_below(u: Tensor, a: float, b: float) -> Tensor:
    """The regularised incomplete beta function I_u(a, b), float64 of u's shape."""
    whole = torch.lgamma(torch.tensor([a, b, a + b], dtype=torch.float64))
    whole = float(torch.exp(whole[0] + whole[1] - whole[2]))
    low = _beta_series(u.clamp(max=0.5), a, b) / whole
    high = 1 - _beta_series((1 - u).clamp(max=0.5), b, a) / whole
    return torch.where(u <= 0.5, low, high).clamp(0, 1)


def _beta_series(u: Tensor, a: float, b: float) -> Tensor:
    """The integral of t^(a-1) (1-t)^(b-1) from 0 to u, at most 0.5, by expanding the second factor."""
    total, factor = torch.zeros_like(u), 1.0
    for k in range(_TERMS):
        total += factor * u**k / (a + k)
        factor *= (k + 1 - b) / (k + 1)
    return total * u**a
