"""A run in pieces is the run in one, bit for bit: stopped, killed, or asked for more steps."""

import dataclasses
import importlib.util
import os
import random
import time
from typing import get_args

import pytest
import torch
from torch import nn

from pack.tests.trainer.killed import Child
from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run, same
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.optimisers import KINDS, OptimiserType
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup
from pack.trainer.runs import state_files
from pack.trainer.runs.run_folder import Inputs, RunFolder
from pack.trainer.runs.state_files import StateFiles
from pack.trainer.training.state import State


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path, *(make_item(number, weight=1 + number / 4) for number in range(5)))


class Stop(Exception):
    """The user's red X."""


def stop_at(step):
    def stop(event):
        if event.step == step:
            raise Stop

    return Observer(stop)


def in_pieces(cached, config, folder, *stops):
    """The run with a stop after each of these steps, every piece a Run of its own."""
    files = StateFiles(folder)
    for stop in (*stops, None):
        observer = Observer() if stop is None else stop_at(stop)
        run = Run(cached, config, observer=observer, start=files.latest(config.steps))
        try:
            outcome = run.go()
        except Stop:
            files.save(run.loop.state())
    return run, outcome


VARIANTS = {
    "plain": {},
    "accumulation": {"accumulation": 2},
    "schedule": {"optimiser": OptimiserConfig(learning_rate=1e-3, schedule="cosine", warmup=2)},
    "dropout": {"lora": LoraConfig(rank=2, alpha=2.0, dropout=0.2, rank_dropout=0.2)},
    "loraplus": {"lora": LoraConfig(rank=2, alpha=2.0, loraplus_ratio=4.0, max_norm=0.01)},
    "loha": {"lora": LoraConfig(2, 2.0, 2, algorithm="loha", rank_dropout=0.2, max_norm=0.01)},
    "lokr": {"lora": LoraConfig(2, 2.0, 2, algorithm="lokr", module_dropout=0.2)},
    "dora": {"lora": LoraConfig(2, 2.0, 2, dora=True, dropout=0.2, module_dropout=0.2)},
    "lokr with dora": {"lora": LoraConfig(2, 2.0, 2, algorithm="lokr", dora=True)},
    "full": {"lora": LoraConfig(algorithm="full"), "optimiser": OptimiserConfig(ema_decay=0.9)},
    "fused backward": {"lora": LoraConfig(algorithm="full", fused_backward=True)},
    "bf16": {"lora": LoraConfig(algorithm="full", bf16_weights=True)},
    "bf16 and fused": {
        "lora": LoraConfig(algorithm="full", bf16_weights=True, fused_backward=True)
    },
    "noise": {"loss": LossConfig(noise_offset=0.1, multires_iterations=3, ip_noise_gamma=0.1)},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_three_pieces_equal_one(cached, tmp_path, variant):
    config = dataclasses.replace(CONFIG, steps=8, **VARIANTS[variant])
    whole = Run(cached, config)
    outcome = whole.go()
    run, again = in_pieces(cached, config, tmp_path / "run", 3, 6)
    assert again == outcome and same(run.factors, whole.factors)
    assert [event.step for event in run.observer.events] == [7, 8]
    expected = [(event.epoch, event.learning_rate) for event in whole.observer.events[6:]]
    assert [(event.epoch, event.learning_rate) for event in run.observer.events] == expected
    assert [event.timed for event in run.observer.events] == [1, 2]
    ended, expected_end = run.loop.state(), whole.loop.state()
    assert (ended.guard, ended.good) == (expected_end.guard, expected_end.good)


def test_more_steps_go_on_from_the_end(cached, tmp_path):
    longer = dataclasses.replace(CONFIG, steps=10)
    files = StateFiles(tmp_path / "run")
    first = Run(cached)
    first.go()
    files.save(first.loop.state())
    more, whole = Run(cached, longer, start=files.latest(10)), Run(cached, longer)
    assert more.go() == whole.go() and same(more.factors, whole.factors)
    assert len(more.observer.events) == longer.steps - CONFIG.steps


def test_a_stop_between_the_batches_of_a_step_loses_only_that_step(cached, tmp_path):
    config = dataclasses.replace(CONFIG, accumulation=2)

    class InTheMiddle(Observer):
        def before_batch(self):
            super().before_batch()
            if self.batches == 6:
                raise Stop

    run = Run(cached, config, observer=InTheMiddle())
    with pytest.raises(Stop):
        run.go()
    files = StateFiles(tmp_path / "run")
    files.save(run.loop.state())
    start = files.latest(config.steps)
    assert start.step == len(run.observer.events) > 0
    whole, rest = Run(cached, config), Run(cached, config, start=start)
    assert whole.go() == rest.go() and same(whole.factors, rest.factors)


def test_there_is_no_state_in_the_middle_of_a_step(cached, monkeypatch):
    run = Run(cached)

    def broken(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Optimiser, "step", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        run.go()
    assert run.loop.state() is None


def installed(kind):
    return importlib.util.find_spec(KINDS[kind].module.split(".")[0]) is not None


@pytest.mark.parametrize("kind", [kind for kind in get_args(OptimiserType) if installed(kind)])
def test_every_optimiser_goes_on_as_if_it_had_not_stopped(tmp_path, kind):
    def toy():
        rng = torch.Generator().manual_seed(0)
        return [nn.Parameter(torch.randn(size, generator=rng)) for size in ((3, 4), (5,))]

    def train(parameters, optimiser, steps):
        for step in steps:
            rng = torch.Generator().manual_seed(step)
            pull = sum((p * torch.randn(p.shape, generator=rng)).sum() for p in parameters)
            optimiser.backward(pull)
            optimiser.step(0.01 / (step + 1))

    config = OptimiserConfig(type=kind, learning_rate=1.0 if "rodigy" in kind else 0.01)
    whole, first, second = toy(), toy(), toy()
    train(whole, Optimiser([ParameterGroup(whole)], config), range(9))
    optimiser = Optimiser([ParameterGroup(first)], config)
    train(first, optimiser, range(4))
    files = StateFiles(tmp_path)
    network = {str(i): p.detach().clone() for i, p in enumerate(first)}
    files.save(State(4, [], 4, network, optimiser.state(), {}))
    found = files.latest(4)
    with torch.no_grad():
        for i, parameter in enumerate(second):
            parameter.copy_(found.network[str(i)])
    optimiser = Optimiser([ParameterGroup(second)], config)
    optimiser.load(found.optimiser)
    train(second, optimiser, range(4, 9))
    assert same(whole, second)


class Stubborn:
    """A training that is started again until it is done, in processes that are killed."""

    def __init__(self, cached, config, root):
        self.cached, self.config = cached, config
        inputs = Inputs(config.identity(), "data", "texts", "model")
        self.folder, self.done = RunFolder(root, inputs), root / "done.pt"

    def attempt(self, step_done):
        """In the child: as the host does it, a state after every step."""
        files = self.folder.states

        def save(_):
            files.save(run.loop.state())
            step_done()

        with self.folder.open(self.config):
            start = files.latest(self.config.steps)
            run = Run(self.cached, self.config, observer=Observer(save), start=start)
            outcome = run.go()
        partial = self.done.with_suffix(".tmp")
        torch.save((list(outcome.losses), run.factors), partial)
        partial.replace(self.done)


def finish(stubborn, kills, steps, seconds):
    """Kill after one to so many steps and some seconds as often as told, then let it end; how many kills met."""
    rng, met = random.Random(kills), 0
    for _ in range(kills):
        child = Child(stubborn.attempt)
        met += child.kill(rng.randint(1, steps), rng.uniform(0, seconds))
    while not stubborn.done.exists():
        Child(stubborn.attempt).wait()
    return met


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_change_no_bit(cached, tmp_path):
    config = dataclasses.replace(CONFIG, steps=60)
    whole = Run(cached, config)
    losses = list(whole.go().losses)
    stubborn = Stubborn(cached, config, tmp_path / "runs")
    assert finish(stubborn, 20, 4, 0.02) >= 15
    again, factors = torch.load(stubborn.done)
    assert again == losses and same(factors, whole.factors)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_while_a_state_is_written_change_no_bit(cached, tmp_path, monkeypatch):
    write = state_files._Hashing.write

    def slowly(self, data):
        time.sleep(0.0005)
        return write(self, data)

    monkeypatch.setattr(state_files._Hashing, "write", slowly)
    config = dataclasses.replace(CONFIG, steps=12)
    whole = Run(cached, config)
    losses = list(whole.go().losses)
    stubborn = Stubborn(cached, config, tmp_path / "runs")
    assert finish(stubborn, 10, 1, 0.3) >= 5
    again, factors = torch.load(stubborn.done)
    assert again == losses and same(factors, whole.factors)
    left = [p.name for p in stubborn.folder.path.iterdir() if not p.name.startswith("state-")]
    assert left == ["run.json"]
