"""Steps whose loss or gradient is not finite: skipped, counted, and in the end an error."""

import dataclasses
import itertools
import math

import pytest

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run, same
from pack.tests.trainer.tiny_unet import PlainWeights
from pack.trainer.config.loss import LossConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.training.prefetch import prepared_batches


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path, *(make_item(number, weight=1 + number / 4) for number in range(5)))


def test_a_step_that_is_not_finite_is_skipped_and_the_run_goes_on(cached):
    def spoil(run, *inputs):
        answer = run._predict(*inputs)
        return answer * math.nan if len(run.calls) in (3, 4) else answer

    run = Run(cached, spoil=spoil)
    outcome = run.go()
    events = run.observer.events
    assert [event.applied for event in events] == [True, True, False, False, True, True]
    assert [math.isfinite(loss) for loss in outcome.losses] == [e.applied for e in events]
    assert outcome.stopped is None


@pytest.mark.parametrize("kind", ["l2", "l1", "huber"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_three_bad_steps_stop_at_the_last_good_parameters(cached, kind, value):
    kept = []

    def remember(event):
        if event.step == 3:
            kept.extend(run.factors)

    def spoil(run, *inputs):
        answer = run._predict(*inputs)
        return answer + value if len(run.calls) > 3 else answer

    config = dataclasses.replace(CONFIG, loss=LossConfig(loss_type=kind))
    run = Run(cached, config, spoil=spoil, observer=Observer(remember))
    outcome = run.go()
    assert outcome.steps == 6 and len(outcome.losses) == 6
    assert not any(math.isfinite(loss) for loss in outcome.losses[3:])
    assert "not finite 3 times in a row" in outcome.stopped
    assert "last good step is kept" in outcome.stopped and "0.001" in outcome.stopped
    assert [event.applied for event in run.observer.events] == [True] * 3 + [False] * 3
    assert same(run.factors, kept)


def test_bad_steps_stop_a_longer_run(cached):
    def spoil(run, *inputs):
        return run._predict(*inputs) * (math.nan if len(run.calls) > 2 else 1.0)

    run = Run(cached, dataclasses.replace(CONFIG, steps=50), spoil=spoil)
    outcome = run.go()
    assert outcome.steps == 5 and "step 5 of 50" in outcome.stopped


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_a_run_without_a_good_step_is_an_error(cached, steps):
    def spoil(run, *inputs):
        return run._predict(*inputs) * math.nan

    run = Run(cached, dataclasses.replace(CONFIG, steps=steps), spoil=spoil)
    start = run.factors
    with pytest.raises(ValueError, match=f"not finite in each of the {min(steps, 3)}"):
        run.go()
    assert same(run.factors, start) and len(run.observer.events) == min(steps, 3)


def test_a_step_after_a_bad_one_is_that_of_a_run_without_it(cached):
    """What a skipped step had accumulated is gone: no half of it reaches the next."""

    def spoil(run, *inputs):
        answer = run._predict(*inputs)
        return answer * math.nan if len(run.calls) == 2 else answer

    config = dataclasses.replace(CONFIG, steps=2, accumulation=2)
    kept = []
    run = Run(cached, config, spoil=spoil, observer=Observer(lambda _: kept.append(run.factors)))
    start = run.factors
    run.go()
    assert same(kept[0], start) and not same(kept[1], start)
    gradient_free = Run(cached, config)
    second = itertools.islice(gradient_free.data.steps(config), 1, 2)
    model, loop = gradient_free.model, gradient_free.loop
    with Attachment(leaf_plan(gradient_free.unet, gradient_free.network, PlainWeights())):
        for batch in prepared_batches(second, gradient_free.data, model, config, 2):
            for part in batch.parts:
                loop._gradients(part.micro)
        loop._optimiser.step(1e-3)
    assert same(kept[1], gradient_free.factors)
