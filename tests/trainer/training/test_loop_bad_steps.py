"""Steps whose loss or gradient is not finite: skipped, counted, and in the end an error."""

import dataclasses
import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run, same
from pack.tests.trainer.tiny_unet import PlainWeights
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.training.non_finite import lost, not_finite, slower, useless
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


def broken(run, *inputs):
    return run._predict(*inputs) * math.nan


def test_without_a_good_step_it_is_no_matter_of_the_learning_rate(cached):
    with pytest.raises(ValueError, match="No step was good") as error:
        Run(cached, spoil=broken).go()
    assert "learning rate" not in str(error.value) and "fast" not in str(error.value)


def test_weights_that_are_not_finite_are_named_after_the_first_step(cached):
    run = Run(cached, spoil=broken, damage=lambda: ["out.0.weight", "b"])
    with pytest.raises(ValueError, match=r"in 2 of its weights, e.g. out\.0\.weight"):
        run.go()
    assert not run.observer.events


def test_the_weights_are_looked_at_once_and_only_before_any_good_step(cached):
    looked = []

    def spoil(run, *inputs):
        answer = run._predict(*inputs)
        return answer * math.nan if len(run.calls) in (1, 2, 4) else answer

    run = Run(cached, spoil=spoil, damage=lambda: looked.append(1) or [])
    assert run.go().stopped is None and looked == [1]


@pytest.mark.parametrize(
    ("optimiser", "words"),
    [
        (OptimiserConfig(learning_rate=1e-3), "lower the learning rate (0.001)"),
        (OptimiserConfig(type="Prodigy", learning_rate=1.0), "lower d_coef"),
        (OptimiserConfig(type="Adafactor", learning_rate=1.0), "take another optimiser"),
    ],
)
def test_advice_goes_by_who_finds_the_rate(optimiser, words):
    assert words in lost(3, dataclasses.replace(CONFIG, optimiser=optimiser))
    assert (
        "lower the learning rate" in slower(dataclasses.replace(CONFIG, optimiser=optimiser))
    ) == (not optimiser.finds_rate)


def test_a_switch_that_is_off_is_not_to_be_turned_off(monkeypatch):
    assert "fp16_accumulation" not in lost(3, CONFIG)
    monkeypatch.setattr("torch.backends.cuda.matmul", SimpleNamespace(allow_fp16_accumulation=True))
    assert "fp16_accumulation" in lost(3, CONFIG) and "fp16_accumulation" in useless(
        3, torch.bfloat16
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_another_precision_is_advised_where_it_is_float16(dtype):
    assert ("bf16-unet" in useless(3, dtype)) == (dtype is torch.float16)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64]
)
def test_numbers_of_every_kind_are_looked_at(dtype):
    values = torch.ones(4).to(dtype)
    assert not_finite([("a", values)]) == []
    if dtype.is_floating_point:
        values[1] = math.nan
        assert not_finite([("a", torch.ones(2)), ("b", values)]) == ["b"]
