"""The loss by timestep: which sample falls into which band, what is forgotten, what a state keeps."""

import dataclasses
import math

import pytest

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Run
from pack.tests.trainer.training.test_resume import in_pieces
from pack.trainer.config.loss import LossConfig
from pack.trainer.training.loss_by_timestep import BANDS, SAMPLES, BandLosses, describe
from pack.trainer.training.step import draw, sample_losses


def test_a_sample_counts_in_the_band_of_its_timestep():
    bands = BandLosses(1000)
    assert all(math.isnan(mean) for mean in bands.means())
    bands.add([0, 249, 250, 999], [1.0, 3.0, 5.0, 7.0])
    bands.add([499, 998], [9.0, 11.0])
    means = bands.means()
    assert (means[0], means[1], means[3]) == (2.0, 7.0, 9.0) and math.isnan(means[2])
    assert describe(means) == "0-249 2.0000, 250-499 7.0000, 750-999 9.0000"


def test_the_oldest_is_forgotten_and_what_is_not_finite_never_counts():
    bands = BandLosses(1000)
    bands.add([0] * 2 * SAMPLES, [float(n) for n in range(2 * SAMPLES)])
    bands.add([0, 0], [math.nan, math.inf])
    assert bands.means()[0] == SAMPLES + (SAMPLES - 1) / 2


def test_odd_schedules_have_bands_too():
    bands = BandLosses(10)
    for step in range(10):
        bands.add([step], [float(step)])
    assert bands.means() == (1.0, 3.5, 6.0, 8.5)
    assert describe(bands.means(), 10) == "0-2 1.0000, 3-4 3.5000, 5-7 6.0000, 8-9 8.5000"


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path, *(make_item(number, weight=1 + number / 4) for number in range(5)))


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_events_carry_the_mean_loss_of_each_band(cached, micro_batch):
    """The losses of the first step, before anything has changed, found without the loop."""
    config = dataclasses.replace(CONFIG, steps=1, accumulation=3)
    run, other = Run(cached, config, micro_batch=micro_batch), Run(cached, config)
    run.go()
    losses = [[] for _ in range(BANDS)]
    _, batches, _ = next(other.data.steps(config))
    for items in batches:
        batch = other.data.load(items)
        draws = draw(batch, config, 0, 1000)
        found = sample_losses(other.model, batch, draws, LossConfig()).tolist()
        for timestep, loss in zip(draws.timesteps.tolist(), found, strict=True):
            losses[timestep // 250].append(loss)
    assert sum(map(len, losses)) == 5 and sum(map(bool, losses)) > 1
    expected = [sum(band) / len(band) if band else math.nan for band in losses]
    bands = run.observer.events[0].bands
    assert bands == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_a_run_in_pieces_knows_the_samples_before(cached, tmp_path):
    config = dataclasses.replace(CONFIG, steps=8)
    whole = Run(cached, config)
    whole.go()
    run, _ = in_pieces(cached, config, tmp_path / "run", 3, 6)
    assert run.observer.events[-1].bands == whole.observer.events[-1].bands
