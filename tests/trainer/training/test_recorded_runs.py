"""Whole runs from recordings: the numbers of a run without any."""

import dataclasses

import pytest
import torch

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run, same
from pack.tests.trainer.tiny_unet import PlainWeights
from pack.tests.trainer.training.recorders import Repeater
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.layers.attach import leaf_plan
from pack.trainer.optim.loss_scale import LossScale
from pack.trainer.training.cuda_graphs import Graphs
from pack.trainer.training.loop import Loop

ADAFACTOR = OptimiserConfig(type="Adafactor", learning_rate=1e-3)
RUNS = {
    "accumulated": ({"steps": 10, "accumulation": 2}, None),
    "in parts": ({"steps": 10, "batch_size": 3}, 2),
    "each parameter by itself": ({"steps": 18, "optimiser": ADAFACTOR}, None),
}


@pytest.fixture
def cached(tmp_path):
    """Two buckets, and an odd image in each."""
    buckets = [(64, 64)] * 3 + [(64, 128)] * 3
    return make_cache(tmp_path, *(make_item(n, bucket) for n, bucket in enumerate(buckets)))


def recorded_run(cached, config, micro_batch=None, *, drops=()):
    """A run from recordings, all of which are dropped after some steps."""
    run = Run(cached, config)
    recorder, weights = Repeater(), PlainWeights()
    recorder.network = run.network
    modules = [leaf.module for leaf in leaf_plan(run.unet, run.network, weights)]
    place = torch.float32, torch.device("cpu")
    graphs = Graphs(recorder, run.network, weights, modules, *place)
    run.observer = Observer(lambda event: graphs.drop() if event.step in drops else None)
    rest = config, micro_batch, None, graphs
    run.loop = Loop(run.model, run.network, run.data, *rest)
    return run, recorder


@pytest.mark.parametrize("settings, micro_batch", RUNS.values(), ids=RUNS)
def test_a_run_from_recordings_is_the_plain_one_to_the_bit(cached, settings, micro_batch):
    config = dataclasses.replace(CONFIG, **settings)
    plain = Run(cached, config, micro_batch=micro_batch)
    run, recorder = recorded_run(cached, config, micro_batch, drops=[8])
    assert run.go().losses == plain.go().losses and same(run.factors, plain.factors)
    assert recorder.replayed >= 4 and recorder.freed >= 1
    ours, theirs = run.loop.state().optimiser, plain.loop.state().optimiser
    assert str(ours) == str(theirs)


def test_the_loss_scale_is_read_where_it_lies():
    """float16: recordings multiply by a tensor that stays where it is when the scale changes."""
    scale = LossScale(torch.device("cpu"), enabled=True)
    factor, result = torch.ones(()), []
    address = scale._there.data_ptr()
    for _ in range(2):
        result.append(float(scale.scaled(factor)))
        scale.record(finite=False)
    assert result[1] == result[0] / 2 and scale._there.data_ptr() == address
