"""Which weights a training computes with, where they lie, and what cannot be stored in 8 bits."""

import dataclasses

import comfy.model_management as mm
import comfy.ops
import pytest
import torch
import torch.nn.functional as F
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn

from pack.nodes.host.model import frozen_weights, memory, pinning
from pack.nodes.host.model import unet as host_unet
from pack.nodes.host.model.autograd_session import training_session
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import train as training
from pack.nodes.train import Train
from pack.tests.host import scene
from pack.tests.host.kohya_scene import run_node
from pack.tests.host.model.test_gradients import inputs, loaded, network
from pack.tests.host.training.test_kohya import SDXL
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.layers.attach import Attachment, leaf_plan

pytestmark = pytest.mark.slow

GIB = 1024**3


def train(tiny, cached, recipe, **extra):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe, **extra))


def gradients(tiny, speed):
    """(output, all gradients in a row) of adapters on the live UNet."""
    unet, weights = loaded(tiny), frozen_weights.frozen_weights(tiny.model, speed)
    with training_session():
        net = network(unet)
        plan = leaf_plan(unet, net, weights)
        with Attachment(plan), weights.hold(step.module for step in plan):
            output = host_unet.predict(unet, *inputs())
            grads = torch.autograd.grad(output.square().mean(), net.parameters())
        return output.detach(), torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize(("name", "least"), [("int8", 0.999), ("fp8", 0.98)])
def test_gradients_through_8_bits(tiny, name, least):
    exact, expected = gradients(tiny, SpeedConfig())
    output, found = gradients(tiny, SpeedConfig(frozen_weights=name))
    assert 1 > float(F.cosine_similarity(found, expected, dim=0)) > least
    assert not torch.equal(output, exact)
    streamed = gradients(tiny, SpeedConfig(frozen_weights=name, stream_weights=True))
    assert torch.equal(streamed[0], output) and torch.equal(streamed[1], found)


def test_the_widget_of_train_fetches_weights_ahead(tiny, cached, elsewhere, monkeypatch):
    made, runs = [], []
    lookahead = frozen_weights.Lookahead
    monkeypatch.setattr(
        frozen_weights, "Lookahead", lambda weights: made.append(weights) or lookahead(weights)
    )
    given = {"model": tiny.model, "cache": cached, "clip": tiny.clip, "steps": 1, "batch_size": 1}
    for prefetch in (False, True):
        with torch.inference_mode():
            runs.append(run_node(Train, monkeypatch, **given, prefetch_weights=prefetch))
        assert len(made) == prefetch
        elsewhere()
    plain, ahead = (run[0] for run in runs)
    assert all(torch.equal(plain[key], ahead[key]) for key in plain)


def test_everything_but_training_sees_the_weights_as_loaded(tiny, cached, elsewhere):
    previews = PreviewConfig(("thing",), every=2, at_start=True, width=64, height=64, steps=1)
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": previews}
    recipe = scene.config(steps=2, seed=51)
    plain, book = train(tiny, cached, recipe, **extra)
    first = book.images()[0]
    image, before = scene.sample(tiny.model, tiny.clip), scene.snapshot(tiny.model)
    values = {k: v.clone() for k, v in tiny.model.model_state_dict().items()}
    int8 = dataclasses.replace(recipe, speed=SpeedConfig(frozen_weights="int8"))
    found, book = train(tiny, cached, int8, **extra)  # another run: nothing is resumed
    assert found.losses != plain.losses
    assert found.losses == pytest.approx(plain.losses, rel=0.05)
    assert torch.equal(book.images()[0], first)  # before the first step
    assert scene.snapshot(tiny.model) == before
    assert all(torch.equal(v, values[k]) for k, v in tiny.model.model_state_dict().items())
    assert torch.equal(scene.sample(tiny.model, tiny.clip), image)


def test_pieces_are_the_whole_in_8_bits(tiny, cached, elsewhere):
    speed = SpeedConfig(frozen_weights="int8", stream_weights=True)
    recipe = scene.config(steps=5, seed=52, speed=speed)
    whole, _ = train(tiny, cached, recipe)
    elsewhere()
    train(tiny, cached, dataclasses.replace(recipe, steps=2))
    pieces, _ = train(tiny, cached, recipe)
    assert pieces.losses == whole.losses
    assert all(torch.equal(pieces.lora[key], whole.lora[key]) for key in whole.lora)


def test_a_torch_without_8_bit_floats_is_refused(tiny, cached, monkeypatch):
    monkeypatch.delattr(torch, "float8_e4m3fn")
    recipe = scene.config(speed=SpeedConfig(frozen_weights="fp8"))
    with pytest.raises(ValueError, match="int8"):
        scene.request(tiny, cached, recipe).check()
    scene.request(tiny, cached, scene.config(speed=SpeedConfig(frozen_weights="int8"))).check()


def test_a_model_in_8_bits_is_refused(tiny, cached):
    linear = next(m for m in tiny.model.model.diffusion_model.modules() if isinstance(m, nn.Linear))
    with torch.inference_mode():
        linear.weight = nn.Parameter(linear.weight.to(torch.float8_e4m3fn), requires_grad=False)
    for name in ("int8", "fp8"):
        request = scene.request(tiny, cached, scene.config(speed=SpeedConfig(frozen_weights=name)))
        with pytest.raises(ValueError, match="as loaded"):
            request.check()
    scene.request(tiny, cached, scene.config(speed=SpeedConfig(stream_weights=True))).check()


class Patcher:
    """A MODEL of SDXL's size that notes what it is asked for."""

    load_device, offload_device = torch.device("cuda"), torch.device("cpu")

    def __init__(self, unet, dynamic=False):
        self.unet, self.dynamic, self.asked = unet, dynamic, []
        self.model = type("Model", (), {"diffusion_model": unet})

    def model_size(self):
        return sum(parameter.nbytes for parameter in self.unet.parameters())

    def is_dynamic(self):
        return self.dynamic

    def partially_unload(self, device, size):
        self.asked.append((device, size))


@pytest.fixture(scope="module")
def sdxl():
    return UNetModel(
        **SDXL, device="meta", dtype=torch.float16, operations=comfy.ops.disable_weight_init
    )


@pytest.mark.parametrize(
    ("speed", "low", "high"),
    [
        ({}, 4.78, 4.79),
        ({"stream_weights": True}, 0.25, 0.32),
        ({"frozen_weights": "int8"}, 2.5, 2.75),
        ({"frozen_weights": "int8", "stream_weights": True}, 0.25, 0.3),
    ],
)
def test_what_lies_on_the_card(sdxl, monkeypatch, speed, low, high):
    patcher = Patcher(sdxl)
    spared = frozen_weights.spared_bytes(patcher, SpeedConfig(**speed))
    assert low < (patcher.model_size() - spared) / GIB < high
    monkeypatch.setattr(mm, "get_free_memory", lambda device: 8 * GIB)
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: GIB)
    assert memory.available_beside([patcher], spared) == 7 * GIB - patcher.model_size() + spared


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_model_leaves_the_card_through_its_manager(sdxl, monkeypatch, dynamic):
    patcher, loads = Patcher(sdxl, dynamic), []
    monkeypatch.setattr(mm, "load_models_gpu", lambda models, **asked: loads.append(asked))
    monkeypatch.setattr(mm, "get_free_memory", lambda device: 100 * GIB)
    memory.make_room([patcher], 5)
    assert loads.pop() == {"memory_required": 5} and patcher.asked == []
    memory.make_room([patcher], 5, first_leaves=True)
    size = patcher.model_size()
    assert loads == [{"memory_required": 5 + size}]
    assert patcher.asked == ([] if dynamic else [(torch.device("cpu"), size)])


def test_weights_are_pinned_by_comfyuis_books_and_given_back(monkeypatch, caplog):
    tensors = [torch.zeros(4) for _ in range(4)]
    pinned, able = [], tensors[:3]
    monkeypatch.setattr(
        mm,
        "pin_memory",
        lambda t: any(t is a for a in able) and not pinned.append(t),
        raising=False,
    )
    monkeypatch.setattr(mm, "unpin_memory", lambda t: pinned.pop(), raising=False)
    with pytest.raises(KeyboardInterrupt), pinning.pinned(torch.device("cuda")) as pin:
        assert all(pin(tensor) is tensor for tensor in tensors[:3]) and len(pinned) == 3
        assert torch.equal(pin(tensors[3]), tensors[3])
        raise KeyboardInterrupt
    assert pinned == []
    assert "stream_weights" in caplog.text
    with pinning.pinned(torch.device("cpu")) as pin:
        assert pin(tensors[0]) is tensors[0] and pinned == []
