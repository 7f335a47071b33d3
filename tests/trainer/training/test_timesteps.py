"""Distributions of timesteps: SciPy's own densities, and what is really drawn."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.training.step import draw
from pack.trainer.training.timesteps import drawn_timestep, probabilities

KINDS = ["sigmoid", "laplace", "beta"]
SHAPES = [(0.0, 1.0), (-1.5, 0.4), (2.0, 2.5), (0.7, 0.1), (-6.0, 8.0)]


def below(kind, u, location, scale):
    """SciPy's share of the places below u."""
    if kind == "beta":
        mean = 1 / (1 + math.exp(-location))
        return stats.beta.cdf(u, 2 * mean / scale, 2 * (1 - mean) / scale)
    with np.errstate(divide="ignore"):
        logit = np.log(u) - np.log1p(-u)
    return {"sigmoid": stats.norm, "laplace": stats.laplace}[kind].cdf(logit, location, scale)


def settings(kind, location=0.0, scale=1.0, **more):
    return LossConfig(
        timestep_sampling=kind, timestep_location=location, timestep_scale=scale, **more
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ends", [(0, 1000), (200, 207), (3, 4)])
def test_probabilities_are_the_density_over_each_timestep(kind, shape, ends):
    first, end = ends
    found = probabilities(settings(kind, *shape, min_timestep=first, max_timestep=end), 1000)
    known = np.diff(below(kind, np.linspace(0, 1, end - first + 1), *shape))
    assert np.abs(found[first:end].numpy() - known).max() < 1e-9
    assert float(found.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", ["uniform", *KINDS])
def test_what_is_drawn_has_that_histogram(kind):
    """Chi-squared over twenty parts of the range; the seed is fixed, and a wrong location is seen."""
    rng, number = torch.Generator().manual_seed(3), 6000
    chosen = settings(kind, 0.5, 0.8, min_timestep=100, max_timestep=900)
    drawn = torch.cat([drawn_timestep(chosen, 1000, rng) for _ in range(number)])
    counts = drawn.bincount(minlength=1000)
    assert int(counts.sum()) == number and not counts[:100].any() and not counts[900:].any()
    parts = counts[100:900].view(20, 40).sum(dim=1).numpy()

    def p_value(config):
        expected = probabilities(config, 1000)[100:900].view(20, 40).sum(dim=1).numpy() * number
        kept = expected >= 5
        rest = [parts[~kept].sum()], [expected[~kept].sum()]
        seen = np.concatenate([parts[kept], *([rest[0]] if rest[1][0] else [])])
        known = np.concatenate([expected[kept], *([rest[1]] if rest[1][0] else [])])
        return stats.chisquare(seen, known * seen.sum() / known.sum()).pvalue

    assert p_value(chosen) > 0.01
    other = settings("sigmoid" if kind == "uniform" else kind, 0.3, 0.8, min_timestep=100, max_timestep=900)  # fmt: skip
    assert p_value(other) < 1e-4


def test_beta_at_its_defaults_is_uniform():
    assert torch.allclose(
        probabilities(settings("beta"), 1000), probabilities(LossConfig(), 1000), atol=1e-12
    )


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_a_location_is_the_logarithm_of_kohyas_shift(shift):
    """`shift` of sd-scripts: u = sigmoid(z * sigmoid_scale), then shift * u / (1 + (shift - 1) * u)."""
    u = torch.sigmoid(1.3 * torch.randn(4000, generator=torch.Generator().manual_seed(1)))
    drawn = (u * shift / (1 + (shift - 1) * u)).numpy()
    assert stats.kstest(drawn, lambda v: below("sigmoid", v, math.log(shift), 1.3)).pvalue > 0.01


def test_the_ends_of_the_range_are_as_without_a_distribution():
    rng = torch.Generator().manual_seed(0)
    config = settings("sigmoid", min_timestep=500)
    assert int(drawn_timestep(config, 500, rng)) == 500 and not probabilities(config, 500).any()


def test_a_draw_is_still_a_function_of_seed_epoch_and_sample(tmp_path):
    data = TrainingData(make_cache(tmp_path, *map(make_item, range(4))), FINGERPRINT)
    items = [BatchItem(number, 0, False) for number in range(4)]
    config = TrainConfig(loss=settings("laplace", immiscible=3))
    whole = draw(data.load(items), config, 2, 1000)
    alone = [draw(data.load([item]), config, 2, 1000) for item in items]
    assert torch.equal(whole.timesteps, torch.cat([one.timesteps for one in alone]))
    assert torch.equal(whole.noise, torch.cat([one.noise for one in alone]))
