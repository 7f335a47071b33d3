"""A step that runs out of memory is computed again with less at a time, as if it had been planned so."""

import dataclasses
import weakref

import pytest
import torch

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Run, same
from pack.trainer.config.lora import LoraConfig
from pack.trainer.device.ranks import ALONE, Ranks
from pack.trainer.optim.flat import Flat
from pack.trainer.training.loop import Loop
from pack.trainer.training.tally import Tally


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path, *(make_item(number) for number in range(6)))


class Short:
    """A forward that finds no memory at one of its calls."""

    def __init__(self, at, error=None):
        self.calls, self.at = 0, at
        self.error = error
        self.activation = None

    def __call__(self, run, *inputs):
        self.calls += 1
        if self.calls == self.at:
            activation = inputs[0] * 2
            self.activation = weakref.ref(activation)
            raise self.error or torch.OutOfMemoryError("CUDA out of memory")
        run.calls.append(len(inputs[0]))
        return run.unet(*inputs)


class Relief:
    """Asks for one sample at a time; keeps what it was told."""

    def __init__(self, run, short=None):
        self.run, self.short, self.errors = run, short, []

    def __call__(self, error):
        self.errors.append(str(error))
        if not isinstance(error, torch.OutOfMemoryError):
            return None
        return self.make_room

    def make_room(self):
        gradients = [p.grad for p in self.run.network.parameters()]
        assert all(g is None or not g.any() for g in gradients)
        assert self.short is None or self.short.activation() is None
        return 1


def go(run, relief):
    with run.attached():
        return run.loop.run(run.observer, relief)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_numbers_are_those_of_a_run_that_was_planned_so(cached, accumulation):
    """The first step fails at its second forward: of its last sample, or of its second batch."""
    config = dataclasses.replace(CONFIG, accumulation=accumulation, steps=5)
    planned = Run(cached, config, micro_batch=1)
    planned.go()
    short = Short(at=accumulation)
    run = Run(cached, config, spoil=short)
    relief = Relief(run, short)
    outcome = go(run, relief)
    assert relief.errors == ["CUDA out of memory"]
    assert set(run.calls[accumulation - 1 :]) == {1}
    assert outcome.losses == planned.loop.losses and same(run.factors, planned.factors)
    assert [event.step for event in run.observer.events] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("at", [2, 3, 7])
def test_steps_before_stay_and_steps_after_go_on(cached, at):
    """By whichever batch: the same run in smaller pieces, but for rounding."""
    whole = Run(cached)
    whole.go()
    run = Run(cached, spoil=Short(at))
    outcome = go(run, Relief(run))
    assert outcome.losses == pytest.approx(whole.loop.losses, rel=1e-5)
    assert outcome.losses[: at - 1] == whole.loop.losses[: at - 1]
    for ours, theirs in zip(run.factors, whole.factors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_an_error_in_backward_takes_back_what_was_added(cached, monkeypatch):
    """Half of the gradients are there when the second sample's backward fails."""
    planned = Run(cached, micro_batch=1)
    planned.go()
    run, calls = Run(cached, micro_batch=1), []
    own = run.loop._optimiser.backward

    def backward(loss):
        own(loss)
        calls.append(loss)
        if len(calls) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    run.loop._gradients._backward = backward
    outcome = go(run, Relief(run))
    assert outcome.losses == planned.loop.losses and same(run.factors, planned.factors)


@pytest.mark.parametrize("error", [RuntimeError("other"), ValueError("other")])
def test_other_errors_end_the_run(cached, error):
    run = Run(cached, spoil=Short(3, error))
    with pytest.raises(type(error), match="other"):
        go(run, Relief(run))
    assert len(run.observer.events) == 2 and run.loop.state().step == 2


@pytest.mark.parametrize("name", ["clip", "step"])
def test_what_the_optimiser_began_ends_the_run_and_is_not_saved(cached, monkeypatch, name):
    """Its state may be half of one step and half of the other: what was saved before counts."""
    run = Run(cached)
    own = getattr(Flat, name)

    def short(self, *arguments):
        if run.loop.losses:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(self, *arguments)

    monkeypatch.setattr(Flat, name, short)
    relief = Relief(run)
    with pytest.raises(torch.OutOfMemoryError):
        go(run, relief)
    assert relief.errors == [] and run.loop.state() is None


FULL = LoraConfig(algorithm="full", fused_backward=True)


@pytest.mark.parametrize(
    "lora, ranks", [(CONFIG.lora, ALONE), (CONFIG.lora, Ranks(0, 2)), (FULL, ALONE)]
)
def test_a_step_that_is_done_elsewhere_is_not_computed_again(cached, monkeypatch, lora, ranks):
    """Waiting for it fails, when other ranks have its gradients, or backward has applied them."""
    config = dataclasses.replace(CONFIG, lora=lora)
    run = Run(cached, config)
    if ranks is not ALONE:
        run.loop = Loop(run.model, run.network, run.data, config, ranks=ranks)
    own, waits = Tally.read, []

    def short(self, norm):
        waits.append(norm)
        if len(waits) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(self, norm)

    monkeypatch.setattr(Tally, "read", short)
    relief = Relief(run)
    if ranks is ALONE and lora is not FULL:
        assert go(run, relief).steps == config.steps and len(relief.errors) == 1
        return
    with pytest.raises(torch.OutOfMemoryError):
        go(run, relief)
    assert relief.errors == [] and len(run.observer.events) == 1 and run.loop.state() is None
