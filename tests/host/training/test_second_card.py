"""While a training computes, the card of its MODEL is the current one, and nobody else's work is done under that."""

import comfy.ops
import pytest
import torch

from pack.nodes.host.model import weights
from pack.nodes.host.model.autograd_session import current_device
from pack.nodes.host.previews.previewer import PreviewConfig, Previewer
from pack.nodes.host.training import attachment
from pack.nodes.host.training.train import train_lora
from pack.tests.host import scene
from pack.trainer.config.lora import LoraConfig
from pack.trainer.network.network import Network
from pack.trainer.training.gradients import Gradients

CARD = torch.device("cuda", 1)


@pytest.fixture
def made_current(monkeypatch):
    """The devices that are current, the innermost last, with a stand-in for `torch.cuda.device`."""
    made = []

    class Device:
        """No generator: what is forgotten and collected must not look as if it had been left."""

        def __init__(self, device):
            self.device = device

        def __enter__(self):
            made.append(self.device)

        def __exit__(self, *_):
            made.pop()

    monkeypatch.setattr(torch.cuda, "device", Device)
    return made


def test_a_card_is_made_the_current_one(made_current):
    with current_device(CARD):
        assert made_current == [CARD]
    with current_device(torch.device("cpu")):
        assert made_current == []


@pytest.fixture
def brought(monkeypatch, made_current):
    """(where, what is current) whenever ComfyUI brings a weight for adapters to measure, for a step or a
    preview; none is held."""
    found, where, own = set(), [], comfy.ops.cast_bias_weight

    def cast_bias_weight(*given, **options):
        found.update((place, *made_current) for place in where)
        return own(*given, **options)

    def marked(kind, name):
        call = getattr(kind, name)

        def go(*given):
            where.append(kind)
            try:
                return call(*given)
            finally:
                where.pop()

        monkeypatch.setattr(kind, name, go)

    marked(Network, "settle")
    marked(Gradients, "__call__")
    marked(Previewer, "sample")
    monkeypatch.setattr(comfy.ops, "cast_bias_weight", cast_bias_weight)
    monkeypatch.setattr(weights, "_is_plain", lambda module: False)
    monkeypatch.setattr(attachment, "current_device", lambda device: torch.cuda.device(CARD))
    return found


def train(tiny, cached, lora=None, **extra):
    recipe = scene.config(steps=2, seed=61).having(lora=lora)
    previews = PreviewConfig(("thing",), every=1, width=64, height=64, steps=1)
    extra |= {"clip": tiny.clip, "vae": tiny.vae, "previews": previews}
    with torch.inference_mode():
        return train_lora(scene.request(tiny, cached, recipe, **extra))


def test_weights_come_to_the_current_card_in_a_step_only(tiny, cached, brought, made_current):
    train(tiny, cached)
    assert brought == {(Gradients, CARD), (Previewer,)}
    assert made_current == []


def test_dora_measures_the_columns_with_that_card_current(tiny, cached, brought, made_current):
    """DoRA reads the weights of its layers before the first step."""
    train(tiny, cached, LoraConfig(rank=4, dora=True))
    assert brought == {(Network, CARD), (Gradients, CARD), (Previewer,)}
    assert made_current == []


def test_a_training_that_fails_leaves_the_current_card_as_it_was(
    tiny, cached, brought, made_current, monkeypatch
):
    def fail(*_):
        raise ValueError("no weights today")

    monkeypatch.setattr(weights.ComfyWeights, "hold", fail)
    with pytest.raises(ValueError, match="today"):
        train(tiny, cached)
    assert made_current == []
