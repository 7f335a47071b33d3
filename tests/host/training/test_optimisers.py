"""Optimisers inside ComfyUI: what previews and the LoRA show of a schedule-free one."""

import dataclasses
from contextlib import contextmanager

import pytest
import torch

from pack.nodes.host.previews.previewer import PreviewConfig, Previewer
from pack.nodes.host.training import train as training
from pack.nodes.optimiser_settings import OptimiserSettings
from pack.tests.host import scene
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.optim.optimiser import Optimiser

pytestmark = pytest.mark.main_host


def train(tiny, cached, optimiser, **extra):
    recipe = dataclasses.replace(scene.config(), optimiser=optimiser)
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe, **extra))[0]


def test_previews_show_the_averaged_weights(tiny, cached, monkeypatch):
    inside, sampled = [], []
    averaged, sample = Optimiser.averaged, Previewer.sample

    @contextmanager
    def watched(self):
        with averaged(self):
            inside.append(True)
            yield
            inside.pop()

    def sampling(self, at_strength):
        sampled.append(bool(inside))
        return sample(self, at_strength)

    monkeypatch.setattr(Optimiser, "averaged", watched)
    monkeypatch.setattr(Previewer, "sample", sampling)
    previews = PreviewConfig(("thing",), every=2, width=64, height=64, steps=1)
    before = scene.snapshot(tiny.model)
    kind = OptimiserConfig(type="AdamWScheduleFree", learning_rate=1e-2)
    train(tiny, cached, kind, clip=tiny.clip, vae=tiny.vae, previews=previews)
    assert sampled == [True, True]
    assert scene.snapshot(tiny.model) == before


def test_another_optimiser_is_another_run_and_says_so_in_the_file(tiny, cached):
    adamw = train(tiny, cached, OptimiserConfig(learning_rate=1e-2))
    arguments = ("d_coef=2", "safeguard_warmup=True")
    prodigy = train(
        tiny, cached, OptimiserConfig(type="Prodigy", learning_rate=1.0, arguments=arguments)
    )
    assert prodigy.trained and prodigy.path != adamw.path
    assert prodigy.lora.metadata["ss_optimizer"] == (
        "prodigyopt.prodigy.Prodigy(d_coef=2,safeguard_warmup=True)"
    )


def test_a_useless_rate_is_in_the_log(tiny, cached, caplog):
    train(tiny, cached, OptimiserConfig(type="Prodigy"))
    assert "Prodigy finds the learning rate itself" in caplog.text


def test_a_slip_of_the_hand_is_asked_about_in_the_node():
    with pytest.raises(ValueError, match=r"learning_rate is 1, .* turn on unusual_rate"):
        OptimiserSettings.execute(learning_rate=1.0)
    (config,) = OptimiserSettings.execute(learning_rate=1.0, unusual_rate=True).args
    assert config == OptimiserConfig(learning_rate=1.0)
