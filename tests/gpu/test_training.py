"""Training on CUDA: the MODEL is as before, and so is the memory."""

import pytest
import torch

from pack.nodes.host.training import train as training
from pack.tests.gpu.card import allocated, changed
from pack.tests.host import scene


@pytest.fixture
def cached(tiny, tmp_path):
    return scene.cache(tiny, scene.write_pictures(tmp_path / "set"), tmp_path / "cache")


def train(tiny, cached, **settings):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, scene.config(**settings)))[0]


@pytest.mark.parametrize("checkpointing", ["off", "full"])
def test_the_model_is_as_before(tiny, cached, checkpointing):
    scene.sample(tiny.model, tiny.clip)
    image, before = scene.sample(tiny.model, tiny.clip), scene.snapshot(tiny.model)
    result = train(tiny, cached, checkpointing=checkpointing, seed=11)
    assert all(torch.tensor(loss).isfinite() for loss in result.losses)
    assert changed(before, tiny) == []
    assert torch.equal(scene.sample(tiny.model, tiny.clip), image)


def test_memory_is_given_back(tiny, cached):
    train(tiny, cached, seed=13)
    before = allocated()
    train(tiny, cached, seed=14)
    assert allocated() <= before + (1 << 20)
