"""Which weights a training computes with, where they lie, and what cannot be stored in 8 bits."""

import dataclasses

import comfy.model_management as mm
import comfy.ops
import pytest
import torch
import torch.nn.functional as F
from comfy.cli_args import args
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import nn

from pack.nodes.host.model import frozen_weights, memory, pinning
from pack.nodes.host.model import unet as host_unet
from pack.nodes.host.model.autograd_session import training_session
from pack.nodes.host.model.weights import ComfyWeights
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import train as training
from pack.nodes.train import Train
from pack.tests.host import scene
from pack.tests.host.kohya_scene import run_node
from pack.tests.host.model.test_gradients import inputs, loaded, network
from pack.tests.host.training.test_kohya import SDXL
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.device.copy_stream import InOrder
from pack.trainer.frozen.streaming import Streamed
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


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_widget_of_train_no_longer_fetches_anything(tiny, cached, monkeypatch, caplog, dynamic):
    """Weights are reached as without it, also where ComfyUI pages them."""
    given = {"model": tiny.model, "cache": cached, "clip": tiny.clip, "steps": 1, "batch_size": 1}
    with torch.inference_mode():
        run_node(Train, monkeypatch, **given, prefetch_weights=True)
    assert "prefetch_weights no longer does anything" in caplog.text
    monkeypatch.setattr(memory, "is_dynamic", lambda patcher: dynamic)
    for streamed, kind in ((False, ComfyWeights), (True, Streamed)):
        speed = SpeedConfig(prefetch_weights=True, stream_weights=streamed)
        assert type(frozen_weights.frozen_weights(tiny.model, speed)) is kind


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


def test_copies_have_no_stream_of_their_own_where_comfyui_offloads_in_turn(
    tiny, monkeypatch, caplog
):
    """`--disable-async-offload`; without it a card gets one."""
    caplog.set_level("INFO")
    monkeypatch.setattr(frozen_weights, "copies_to", lambda device: "a stream")

    def copies():
        weights = frozen_weights.frozen_weights(tiny.model, SpeedConfig(stream_weights=True))
        return [weights._make_copies(torch.device("cuda")) for _ in range(2)]

    assert copies() == ["a stream"] * 2
    monkeypatch.setattr(args, "disable_async_offload", True, raising=False)
    assert [type(found) for found in copies()] == [InOrder] * 2
    assert caplog.text.count("--disable-async-offload") == 1, "said at every hold"


@pytest.fixture
def pinned_copies(monkeypatch):
    """What is pinned as a copy by PyTorch; ComfyUI may pin a MiB and pins nothing where it is."""
    copies = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: copies.append(t.nbytes) or t)
    monkeypatch.setattr(mm, "MAX_PINNED_MEMORY", 1 << 20, raising=False)
    monkeypatch.setattr(mm, "TOTAL_PINNED_MEMORY", 1 << 18, raising=False)
    monkeypatch.setattr(mm, "pin_memory", lambda tensor: False, raising=False)
    return copies


def pin(count, size):
    with pinning.pinned(torch.device("cuda")) as pin:
        for _ in range(count):
            pin(torch.zeros(size, dtype=torch.uint8))


@pytest.mark.parametrize("way", ["flag", "limit"])
def test_nothing_is_pinned_where_comfyui_may_not(tiny, monkeypatch, pinned_copies, caplog, way):
    """`--disable-pinned-memory`, which also leaves ComfyUI's own limit below zero."""
    if way == "flag":
        monkeypatch.setattr(args, "disable_pinned_memory", True, raising=False)
    else:
        monkeypatch.setattr(mm, "MAX_PINNED_MEMORY", -1)
    pin(8, 1 << 10)
    assert pinned_copies == [] and "copies" not in caplog.text
    assert not host_unet.training_model(tiny.model, LossConfig()).pins


def test_copies_are_pinned_within_comfyuis_limit(tiny, pinned_copies, caplog):
    pin(8, 1 << 18)
    assert pinned_copies == [1 << 18] * 3
    assert "not pinned" in caplog.text
    assert host_unet.training_model(tiny.model, LossConfig()).pins


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
    monkeypatch.setattr(mm, "MAX_PINNED_MEMORY", 1 << 20, raising=False)
    with pytest.raises(KeyboardInterrupt), pinning.pinned(torch.device("cuda")) as pin:
        assert all(pin(tensor) is tensor for tensor in tensors[:3]) and len(pinned) == 3
        assert torch.equal(pin(tensors[3]), tensors[3])
        raise KeyboardInterrupt
    assert pinned == []
    assert "stream_weights" in caplog.text
    with pinning.pinned(torch.device("cpu")) as pin:
        assert pin(tensors[0]) is tensors[0] and pinned == []
