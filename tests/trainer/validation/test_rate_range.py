"""Where a learning-rate range test points, on curves of which it is known where they fall and rise."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.optim.lr_schedule import learning_rate
from pack.trainer.validation.rate_range import (
    POINTS,
    Point,
    is_lost,
    measured_at,
    rates,
    rising,
    suggest,
)

CASES = 200
STEEPEST, DIVERGES = 1e-4, 2e-3
RATES = rates(1e-6, 1e-2, POINTS)


def curve(rng, noise=0.002, depth=0.05, measurements=24, steepest=STEEPEST, diverges=DIVERGES):
    """A loss that falls by ``depth`` along a sigmoid of the rate's logarithm and bursts beyond a rate.

    Each measurement has a level, a sensitivity and a noise of its own.
    """
    level = rng.uniform(0.05, 0.2, measurements)
    share = rng.uniform(0.5, 1.5, measurements)
    points = [Point(0.0, level.tolist())]
    for rate in RATES:
        fallen = depth / (1 + math.exp(-4 * math.log(rate / steepest)))
        burst = max(0.0, math.log(rate / diverges)) ** 2
        change = share * (burst - fallen) + rng.normal(0, noise, measurements)
        points.append(Point(rate, (level + change).tolist()))
    return points


def test_the_suggestion_is_where_the_loss_falls_fastest():
    """In nearly every of 200 noisy cases, within a point of the truth, below divergence, and inside its bounds."""
    rng = np.random.default_rng(0)
    ratio = RATES[1] / RATES[0]
    near = inside = 0
    for _ in range(CASES):
        found = suggest([curve(rng), curve(rng)])
        near += abs(math.log(found.rate / STEEPEST)) <= 1.5 * math.log(ratio)
        inside += found.low / ratio <= STEEPEST <= found.high * ratio
        assert found.rate < DIVERGES
        assert DIVERGES < found.diverged_at <= DIVERGES * ratio**3
        assert not found.still_falls
    assert near >= 0.95 * CASES
    assert inside >= 0.95 * CASES


def test_noise_alone_is_no_descent():
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(CASES):
        noise = curve(rng, depth=0.0)
        try:
            suggest([noise])
        except ValueError as error:
            refused += "did not fall" in str(error)
    assert refused >= 0.95 * CASES


def test_a_loss_that_still_falls_at_the_end_is_said_to():
    rng = np.random.default_rng(2)
    found = suggest([curve(rng, steepest=1e-2, diverges=1.0) for _ in range(2)])
    assert found.still_falls and found.diverged_at is None


def test_a_training_that_ran_away_early_ends_the_comparison_there():
    rng = np.random.default_rng(3)
    whole, short = curve(rng), curve(rng)[:-3]
    lost = [*short, Point(RATES[-3], [math.nan] * 24)]
    assert suggest([whole, lost]).rate < DIVERGES
    assert is_lost(short[0].losses, lost[-1].losses)
    assert is_lost([1.0, 1.0], [2.0, 2.1]) and not is_lost([1.0, 1.0], [1.9, 1.9])


@pytest.mark.parametrize("steps", [20, 60, 61, 500])
def test_points_lie_evenly_up_to_the_last_step(steps):
    found = measured_at(steps)
    assert len(found) == POINTS and found[-1] == steps
    gaps = [b - a for a, b in itertools.pairwise([0, *found])]
    assert max(gaps) - min(gaps) <= 1


def test_the_rate_rises_in_equal_ratios_by_a_schedule_that_there_is():
    given = TrainConfig(steps=60, epochs=3, optimiser=OptimiserConfig(warmup=10, ema_decay=0.9))
    config = rising(given, 12, 1e-6, 1e-2)
    found = [learning_rate(config.optimiser, step, 60) for step in range(60)]
    assert found == pytest.approx(rates(1e-6, 1e-2, 60))
    assert found[-1] / found[0] == pytest.approx(1e4)
    assert (config.validation.held_out, config.epochs) == (3, 0)
    assert not config.optimiser.needs_horizon


def test_text_encoders_keep_their_share_of_the_rate():
    optimiser = OptimiserConfig(learning_rate=1e-4, text_encoder_1_rate=1e-5)
    config = rising(TrainConfig(steps=60, optimiser=optimiser), 12, 1e-6, 1e-2)
    assert config.optimiser.text_encoder_1_rate == pytest.approx(1e-3)


def test_held_out_images_of_the_settings_stay_and_nothing_else_of_them():
    validation = ValidationConfig(held_out=5, patience=2, keep_best=True, timesteps=6)
    config = rising(TrainConfig(steps=60, validation=validation), 12, 1e-6, 1e-2)
    assert config.validation == dataclasses.replace(validation, patience=0, keep_best=False)


@pytest.mark.parametrize(
    ("optimiser", "pictures", "bounds", "words"),
    [
        (OptimiserConfig(type="Prodigy", learning_rate=1.0), 12, (1e-6, 1e-2), "Prodigy"),
        (OptimiserConfig(type="AdamWScheduleFree"), 12, (1e-6, 1e-2), "AdamWScheduleFree"),
        (OptimiserConfig(), 1, (1e-6, 1e-2), "two images"),
        (OptimiserConfig(), 12, (1e-2, 1e-2), "below highest"),
    ],
)
def test_what_it_refuses(optimiser, pictures, bounds, words):
    with pytest.raises(ValueError, match=words):
        rising(TrainConfig(steps=60, optimiser=optimiser), pictures, *bounds)
