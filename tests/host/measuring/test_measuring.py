"""Losses measured without training: those of Train's validation, on a MODEL that stays as it was."""

import dataclasses
import json

import comfy.model_management as mm
import comfy.model_patcher
import pytest
import torch

from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.measuring import measuring
from pack.nodes.host.measuring.measuring import Measuring
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.measuring import MeasureConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.validation.split import split

pytestmark = pytest.mark.main_host

HELD_OUT = ValidationConfig(2, every=2, timesteps=3, seed=5)
LOSS = LossConfig(min_snr_gamma=5.0)
SETTINGS = MeasureConfig(timesteps=3, seeds=2, seed=5, loss=LOSS)
FEW = MeasureConfig(timesteps=2, seeds=1)


def bits(model):
    return {key: value.clone() for key, value in model.model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def lora(tiny):
    """One that changes two projections of every attention of the UNet."""
    rng = torch.Generator().manual_seed(1)

    def layer(stem, rows, columns):
        down = 0.2 * torch.randn(2, columns, generator=rng)
        up = 0.2 * torch.randn(rows, 2, generator=rng)
        return {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}

    found = {}
    for name, module in tiny.model.model.diffusion_model.named_modules():
        if name.endswith(("to_q", "to_out.0")):
            found |= layer(f"lora_unet_{name.replace('.', '_')}", *module.weight.shape)
    return found


@pytest.fixture
def two(cached):
    """Two images of two shapes."""
    return dataclasses.replace(cached, items=cached.items[:2])


def measure(tiny, cached, *asked, settings=FEW, clip=None):
    with torch.inference_mode(), Measuring(tiny.model, clip, cached, settings) as measured:
        return [measured.losses(*each) for each in asked]


@pytest.mark.slow
def test_it_finds_what_the_validation_of_a_training_found(tiny, cached):
    config = scene.config(steps=4, validation=HELD_OUT, loss=LOSS)
    with torch.inference_mode():
        result, _ = training.train_lora(scene.request(tiny, cached, config))
    written = json.loads((result.path.parent / "validation.json").read_text("utf-8"))["losses"]
    held_out = split(cached, config).held_out
    start, end = measure(tiny, held_out, (), (result.lora,), settings=SETTINGS)
    for step, found in (("0", start), ("4", end)):
        assert found.shape == (2, 3, 2)
        assert found[:, :, 0].flatten().tolist() == pytest.approx(written[step], rel=1e-4)
        assert not torch.allclose(found[:, :, 1], found[:, :, 0])
    assert (end - start).abs().max() > 0.01 * start.mean()


def test_a_lora_is_there_while_it_is_measured_and_as_strong_as_asked(tiny, two, lora):
    before, state = scene.snapshot(tiny.model), bits(tiny.model)
    without, zero, found = measure(tiny, two, (), (lora, 0.0), (lora, 0.5))
    assert found.shape == (2, 2, 1) and torch.equal(without, zero)
    assert scene.snapshot(tiny.model) == before and same(bits(tiny.model), state)
    applied, _ = apply_lora(tiny.model, None, lora, 0.5)  # ComfyUI's own way
    with torch.inference_mode(), Measuring(applied, None, two, FEW) as measured:
        assert torch.allclose(measured.losses(), found, rtol=1e-3)
    assert not torch.allclose(found, without, rtol=1e-2)


def test_it_comes_on_top_of_what_the_model_has_already(tiny, two, lora):
    patched, _ = apply_lora(tiny.model, None, lora, 0.5)
    twice, _ = apply_lora(patched, None, lora, 0.25)
    with torch.inference_mode(), Measuring(patched, None, two, FEW) as measured:
        found = measured.losses(lora, 0.25)
    with torch.inference_mode(), Measuring(twice, None, two, FEW) as measured:
        assert torch.allclose(measured.losses(), found, rtol=1e-3)


def test_one_lora_after_another_is_put_on_and_the_model_loaded_once(tiny, two, lora, monkeypatch):
    loads, load = [], comfy.model_patcher.ModelPatcher.load

    def counted(self, *given, **named):
        loads.append(self)
        return load(self, *given, **named)

    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "load", counted)
    measure(tiny, two, (), (lora, 0.5), (lora, 1.0))
    assert loads == [tiny.model]


def test_text_encoders_take_their_part_of_a_lora_and_other_captions_can_be_asked_for(tiny, two):
    clip, stem = tiny.clip, "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    layer = clip.cond_stage_model.clip_l.transformer.text_model.encoder.layers[0].mlp.fc1
    rows, columns = layer.weight.shape
    text = {
        f"{stem}.lora_down.weight": torch.ones(1, columns),
        f"{stem}.lora_up.weight": torch.ones(rows, 1),
    }
    fresh = dataclasses.replace(two, text_fingerprint=None)
    own, learned, again, swapped = measure(
        tiny, fresh, (), (text,), (), (None, 1.0, ["thing, number 1", "thing, number 0"]), clip=clip
    )
    assert torch.equal(own, again)
    assert not torch.equal(own, learned) and not torch.equal(own, swapped)
    assert torch.equal(own, measure(tiny, two, ())[0])


@pytest.mark.parametrize("error", [mm.InterruptProcessingException(), RuntimeError("broken")])
def test_nothing_is_left_when_it_ends_in_the_middle(tiny, two, lora, monkeypatch, error):
    measure(tiny, two, ())
    before, state, calls = scene.snapshot(tiny.model), bits(tiny.model), []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise error

    monkeypatch.setattr(measuring, "check_interrupt", check)
    with pytest.raises(type(error)):
        measure(tiny, two, (lora, 1.0))
    assert scene.snapshot(tiny.model) == before and same(bits(tiny.model), state)


def test_what_cannot_be_measured_is_told_before(tiny, two):
    with pytest.raises(ValueError, match="connect CLIP"):
        Measuring(tiny.model, None, dataclasses.replace(two, text_fingerprint=None), FEW)
    with pytest.raises(ValueError, match="no image to measure"):
        Measuring(tiny.model, None, dataclasses.replace(two, items=()), FEW)
    with pytest.raises(ValueError, match="cache is missing"):
        measure(tiny, two, (None, 1.0, ["new", "newer"]))
