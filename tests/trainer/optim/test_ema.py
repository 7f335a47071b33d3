"""The moving average of the adapters: its numbers, and that it alone is what comes out."""

import dataclasses

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_cache import make_cache
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run, same
from pack.tests.trainer.training.test_resume import in_pieces
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.optimisers import SCHEDULE_FREE
from pack.trainer.optim.ema import MovingAverage

DECAY = 0.4
EMA = dataclasses.replace(
    CONFIG, steps=8, optimiser=OptimiserConfig(learning_rate=1e-2, ema_decay=DECAY)
)


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path)


def test_the_decay_warms_up():
    """Of TensorFlow: min(decay, (1 + n) / (10 + n)), n from 0."""
    values = torch.tensor([1.0, 5.0, -2.0, 8.0, 3.0])
    parameter = nn.Parameter(values[0].clone())
    average, expected = MovingAverage([parameter], 0.2), float(values[0])
    for n, value in enumerate(values[1:]):
        parameter.data.copy_(value)
        average.take()
        decay = min(0.2, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * float(value)
    average.put()
    assert float(parameter.detach()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("max_norm", [0.0, 1e-3])
def test_a_run_ends_at_the_average_of_all_its_steps(cached, max_norm):
    """Its steps are those of a run without, whose parameters after each step are averaged here."""
    after = []
    averaged = dataclasses.replace(EMA, lora=dataclasses.replace(EMA.lora, max_norm=max_norm))
    optimiser = dataclasses.replace(EMA.optimiser, ema_decay=0.0)
    plain = Run(
        cached,
        dataclasses.replace(averaged, optimiser=optimiser),
        observer=Observer(lambda _: after.append(plain.factors)),
    )
    expected = [factor.double() for factor in plain.factors]
    losses = plain.go().losses
    for n, factors in enumerate(after):
        decay = min(DECAY, (1 + n) / (10 + n))
        pairs = zip(expected, factors, strict=True)
        expected = [decay * old + (1 - decay) * new for old, new in pairs]
    run = Run(cached, averaged)
    assert run.go().losses == losses
    for ours, wanted in zip(run.factors, expected, strict=True):
        torch.testing.assert_close(ours.double(), wanted, rtol=1e-5, atol=1e-8)
    assert not same(run.factors, plain.factors)


def test_what_is_looked_at_on_the_way_is_the_average_and_the_run_goes_on(cached):
    seen = []

    def look(event):
        trained = run.factors
        with run.loop.averaged():
            seen.append(run.factors)
        assert same(run.factors, trained) and not same(seen[-1], trained)

    run, unwatched = Run(cached, EMA, observer=Observer(look)), Run(cached, EMA)
    run.go()
    unwatched.go()
    assert same(run.factors, unwatched.factors) and same(seen[-1], run.factors)


def test_a_run_in_pieces_averages_as_one(cached, tmp_path):
    whole = Run(cached, EMA)
    outcome = whole.go()
    run, again = in_pieces(cached, EMA, tmp_path / "run", 1, 5)
    assert again == outcome and same(run.factors, whole.factors)


def test_a_step_that_was_skipped_is_not_averaged(cached):
    def spoil(run, *inputs):
        run.calls.append(0)
        answer = run.unet(*inputs)
        return answer * float("nan") if len(run.calls) == 1 else answer

    config = dataclasses.replace(EMA, steps=1 + 1)
    run = Run(cached, config, spoil=spoil)
    start = run.factors
    after = []
    run.observer.at_step = lambda _: after.append(run.factors)
    run.go()
    assert same(after[0], start)
    for ours, first, last in zip(run.factors, start, after[-1], strict=True):
        torch.testing.assert_close(ours, 0.1 * first + 0.9 * last)


@pytest.mark.parametrize("kind", sorted(SCHEDULE_FREE))
def test_two_averages_are_refused(kind):
    with pytest.raises(ValueError, match=f"{kind} averages the adapters itself"):
        OptimiserConfig(type=kind, ema_decay=0.9)
    OptimiserConfig(type=kind)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match="ema_decay"):
        OptimiserConfig(ema_decay=decay)
