"""The learning-rate finder on a real model: what it suggests trains, and nothing of it stays."""

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.comparing.rate_finder import find_rate
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.validation import ValidationConfig

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

HIGHEST = 1.0
"""Far too much for the tiny model."""
VALIDATION = ValidationConfig(held_out=3, every=20, timesteps=4)


@pytest.fixture
def red(tiny, tmp_path):
    """Eight red images, cached."""
    return scene.cache(
        tiny, scene.write_pictures(tmp_path / "red", count=8), tmp_path / "red_cache"
    )


def find(tiny, cached, **settings):
    config = scene.config(steps=60, validation=VALIDATION, **settings)
    with torch.inference_mode():
        return find_rate(scene.request(tiny, cached, config), 1e-5, HIGHEST, 1)


def test_it_suggests_a_rate_that_trains_below_the_one_that_diverges(tiny, red):
    scene.sample(tiny.model, tiny.clip, steps=1)  # loads the model as sampling does
    image = scene.sample(tiny.model, tiny.clip, steps=1)
    before = scene.snapshot(tiny.model)
    found = find(tiny, red)
    after = scene.snapshot(tiny.model)
    assert [key for key in before if before[key] != after[key]] == []
    assert torch.equal(scene.sample(tiny.model, tiny.clip, steps=1), image)
    assert not folders.runs_root().exists()
    assert [path.name for path in folders.finder_root().iterdir()] == [".locks"]

    (said,) = (line for line in found.report.splitlines() if line.startswith("diverges from"))
    assert found.rate < float(said.split()[2])
    config = scene.config(steps=60, learning_rate=found.rate, validation=VALIDATION)
    with torch.inference_mode():
        result, _ = training.train_lora(scene.request(tiny, red, config))
    last = result.validations[-1]
    assert last.difference + 2 * last.error < 0


def test_an_interrupt_leaves_nothing(tiny, red, monkeypatch):
    before = scene.snapshot(tiny.model)
    asked = iter(range(1000))

    def interrupted():
        if next(asked) == 150:
            raise mm.InterruptProcessingException

    monkeypatch.setattr(mm, "throw_exception_if_processing_interrupted", interrupted)
    with pytest.raises(mm.InterruptProcessingException):
        find(tiny, red)
    after = scene.snapshot(tiny.model)
    assert [key for key in before if before[key] != after[key]] == []
    assert [path.name for path in folders.finder_root().iterdir()] == [".locks"]
