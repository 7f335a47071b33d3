"""Training through weights that come block by block: the same bits, and everything as before afterwards."""

import dataclasses
import itertools

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host.model import memory, weights
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import train as training
from pack.replay import train as replay
from pack.tests.host import scene
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.device.copy_stream import InOrder
from pack.trainer.frozen.streaming import Streamed, stream_units
from pack.trainer.network.adapters import Lora

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

STREAMED = SpeedConfig(stream_weights=True)
PREVIEWS = PreviewConfig(("thing",), every=2, width=64, height=64, steps=1, strengths=(0.0, 1.0))


def train(tiny, cached, recipe, **extra):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe, **extra))


def streaming(recipe):
    return dataclasses.replace(recipe, speed=STREAMED)


def same(one, other):
    assert one.losses == other.losses
    assert all(torch.equal(one.lora[key], other.lora[key]) for key in one.lora)
    return True


@pytest.fixture
def copied(monkeypatch):
    """The blocks that were copied, buffers being full of NaN before."""
    blocks, original = [], InOrder.copy

    def copy(self, pairs, after):
        pairs = list(pairs)
        pairs[0][0]._base.fill_(255)
        blocks.append(len(pairs))
        return original(self, pairs, after)

    monkeypatch.setattr(InOrder, "copy", copy)
    return blocks


@pytest.mark.parametrize(
    "settings", [{}, {"checkpointing": "full"}, {"compact": True, "batch_size": 1}]
)
def test_the_numbers_are_the_same_to_the_bit(tiny, cached, elsewhere, copied, settings):
    recipe = scene.config(seed=41, **settings)
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": PREVIEWS}
    plain, book = train(tiny, cached, recipe, **extra)
    pictures = book.images()
    assert copied == []
    elsewhere()
    image, before = scene.sample(tiny.model, tiny.clip), scene.snapshot(tiny.model)
    found, book = train(tiny, cached, streaming(recipe), **extra)
    assert len(copied) > 4 * 10
    assert same(found, plain) and torch.equal(book.images(), pictures)
    assert scene.snapshot(tiny.model) == before
    assert torch.equal(scene.sample(tiny.model, tiny.clip), image)


def test_it_is_the_same_run_and_goes_on_with_it(tiny, cached, elsewhere, copied):
    recipe = scene.config(steps=6, seed=42)
    whole, _ = train(tiny, cached, recipe)
    elsewhere()
    train(tiny, cached, streaming(dataclasses.replace(recipe, steps=2)))
    train(tiny, cached, dataclasses.replace(recipe, steps=4))
    pieces, _ = train(tiny, cached, streaming(recipe))
    assert same(pieces, whole) and copied


@pytest.mark.parametrize("speed", [STREAMED, SpeedConfig(frozen_weights="int8")])
def test_a_cancel_in_the_middle_of_a_step_leaves_no_trace(tiny, cached, monkeypatch, speed):
    before, calls = scene.snapshot(tiny.model), []

    def cancelled(self, x):
        calls.append(True)
        if len(calls) == 300:
            raise mm.InterruptProcessingException
        return original(self, x)

    original = Lora.plain
    recipe = scene.config(steps=4, seed=43, speed=speed)
    with monkeypatch.context() as patch, pytest.raises(mm.InterruptProcessingException):
        patch.setattr(Lora, "plain", cancelled)
        train(tiny, cached, recipe)
    assert scene.snapshot(tiny.model) == before
    assert len(train(tiny, cached, recipe)[0].losses) == 4


def test_what_is_patched_on_the_fly_comes_by_comfyui(tiny, cached, elsewhere, monkeypatch):
    """A LoRA on a MODEL that lies in RAM."""
    patched = tiny.model.clone()
    keys = [key for key in patched.model_state_dict() if key.endswith("attn1.to_q.weight")]
    shapes = {key: patched.model_state_dict()[key].shape for key in keys}
    patched.add_patches({k: ("diff", (torch.ones(s) * 0.02,)) for k, s in shapes.items()}, 0.7)
    make_room = memory.make_room

    def unloaded(*args, **options):
        make_room(*args, **options)
        patched.partially_unload(torch.device("cpu"), 1e12)

    monkeypatch.setattr(memory, "make_room", unloaded)
    recipe = scene.config(seed=44)
    tiny = tiny._replace(model=patched)
    plain, _ = train(tiny, cached, recipe)
    elsewhere()
    assert same(train(tiny, cached, streaming(recipe))[0], plain)
    functions = [
        m for m in patched.model.diffusion_model.modules() if getattr(m, "weight_function", 0)
    ]
    assert len(functions) == len(keys)


def test_a_recorded_run_of_kohya(golden, monkeypatch, copied):
    unets, load, own = [], replay.load_unet, weights.ComfyWeights

    def loaded(*arguments):
        unets.append(load(*arguments))
        return unets[-1]

    def streamed():
        return Streamed(own(), stream_units(unets[-1]), torch.device("cpu"))

    monkeypatch.setattr(replay, "load_unet", loaded)
    monkeypatch.setattr(weights, "ComfyWeights", streamed)
    cases = list(itertools.islice(replay.cases(golden), 2 + 3))  # the forwards and one run
    assert [case for case in cases if not case.passed] == []
    assert len(copied) > 100
