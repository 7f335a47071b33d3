"""The averaged and the raw weights of one run: the raw ones are those of the same run without an average."""

import dataclasses

import pytest
import torch

from pack.nodes.host.lora.weights import chosen_weights
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.host.lora.test_tools import run
from pack.trainer.config.optimiser import OptimiserConfig

pytestmark = pytest.mark.main_host


def train(tiny, cached, steps=4, **settings):
    config = scene.config(steps=steps)
    config = dataclasses.replace(config, optimiser=OptimiserConfig(learning_rate=1e-2, **settings))
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, config))[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_both_come_out_of_a_run_that_is_over(tiny, cached):
    averaged, plain = train(tiny, cached, ema_decay=0.5), train(tiny, cached)
    raw, report = run("ChooseWeights", lora=averaged.lora, weights="raw")
    assert same(raw, plain.lora) and not same(raw, averaged.lora)
    assert report == "raw: as step 4 left them"
    assert "raw weights of step 4" in "".join(raw.metadata.values())
    kept, report = run("ChooseWeights", lora=averaged.lora, weights="averaged")
    assert same(kept, averaged.lora) and "decay of 0.5" in report
    found = train(tiny, cached, ema_decay=0.5)  # from disk
    assert not found.trained and same(chosen_weights(found.lora, "raw").lora, plain.lora)
    with pytest.raises(ValueError, match="trained without a moving average"):
        chosen_weights(plain.lora, "averaged")
    with pytest.raises(ValueError, match="takes the lora output of Train"):
        chosen_weights(dict(plain.lora), "raw")
    for path in averaged.path.parent.glob("state-*.pt"):
        path.unlink()
    with pytest.raises(ValueError, match="raw weights of step 4 lay in the run's state"):
        chosen_weights(averaged.lora, "raw")
    assert same(chosen_weights(averaged.lora, "averaged").lora, averaged.lora)
