"""Trainings with ComfyUI's ModelPatcherDynamic, whose pages are stolen the moment nobody pins them."""

import contextlib

import pytest
import torch
import torch.nn.functional as F

from pack.nodes.host.model import weights
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.frozen import forward

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

FEW = LoraConfig(rank=2, block_ranks=(0,) * 11 + (2,) + (0,) * 11)
"""Adapters in the middle block: what is frozen is looked at, and operations on shapes take long."""


def train(paged, **extra):
    settings = {"steps": 1, "batch_size": 2, "lora": FEW, **extra.pop("settings", {})}
    recipe = scene.config().having(**settings)
    with torch.inference_mode():
        request = scene.request(paged.tiny, paged.cached, recipe, **extra)
        training.train_lora(request)
    return paged.pages


PREVIEWS = PreviewConfig(("thing",), every=1, width=64, height=64, steps=1)
SCENES = {
    "compact, previews, text encoders": {
        "compact": True,
        "optimiser": OptimiserConfig(text_encoder_1_rate=1e-4, text_encoder_2_rate=1e-4),
    },
    "streamed, all computed again": {
        "checkpointing": "full",
        "speed": SpeedConfig(stream_weights=True),
    },
}


@pytest.mark.parametrize("name", SCENES)
def test_every_use_of_a_weight_lies_within_its_pin(paged, name):
    scene = paged(steals=True)
    more = {}
    if "previews" in name:
        more = {"previews": PREVIEWS, "clip": scene.tiny.clip, "vae": scene.tiny.vae}
    pages = train(scene, settings=SCENES[name], **more)
    assert pages.borrowed == 0 and pages.faults > 300


def leak(monkeypatch):
    """A fetch that is never given back: what is pinned stays on the card, however scarce memory is."""
    monkeypatch.setattr(weights, "_release", lambda *_: None)


def early(monkeypatch):
    """A weight that is given back before it is used."""

    @contextlib.contextmanager
    def borrow(self, module, dtype, device):
        weight, bias, stream = weights._fetch(module, dtype, device)
        weights._release(module, weight, bias, stream)
        yield weight, bias

    monkeypatch.setattr(weights.ComfyWeights, "borrow", borrow)


def kept(monkeypatch):
    """A weight that forward keeps for backward, as autograd does by itself."""

    def keep(ctx, x, module, weights):
        with weights.borrow(module, x.dtype, x.device) as (weight, bias):
            ctx.weight = weight
            return F.linear(x, weight, bias)

    def use(ctx, gradient):
        return gradient @ ctx.weight, None, None

    monkeypatch.setattr(forward._FrozenLinear, "forward", staticmethod(keep))
    monkeypatch.setattr(forward._FrozenLinear, "backward", staticmethod(use))


@pytest.mark.parametrize("plant", [leak, early, kept], ids=lambda plant: plant.__name__)
def test_planted_faults_are_found(paged, monkeypatch, plant):
    """By name: a fetch never given back, one given back before its use, a weight kept for backward."""
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="pin"):
        train(paged(steals=True))
