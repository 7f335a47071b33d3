"""Rehearsal of a card: ComfyUI prefers cuDNN's attention there, or has none with a backward; training has its own."""

import dataclasses
from contextlib import nullcontext

import comfy.ldm.modules.attention as host
import comfy.ops
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import sdpa_kernel

from pack.nodes.host.model import unet
from pack.nodes.host.model.autograd_session import training_session
from pack.nodes.host.model.weights import ComfyWeights
from pack.nodes.host.training import attachment, live_training
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.trainer.device.test_attending import COMFYUI, FIXED, ways
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.device import attending
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.layers.recompute import Again
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.training import gradients
from pack.trainer.validation import measure

RECIPE = TrainConfig(
    steps=1,
    lora=LoraConfig(rank=2, alpha=2.0),
    optimiser=OptimiserConfig(text_encoder_1_rate=1e-3, text_encoder_2_rate=1e-3),
    validation=ValidationConfig(1, every=9, timesteps=2),
    batch_size=1,
    seed=3,
)


@pytest.fixture
def seen(monkeypatch):
    """Where attention outside of inference mode was; fails where cuDNN was asked, as ComfyUI's asks on a card."""
    places, own = set(), F.scaled_dot_product_attention

    def watched(q, k, v, attn_mask=None, **options):
        if not torch.is_inference_mode_enabled():
            again = torch._C._current_graph_task_id() != -1
            where = "backward" if again else "step" if torch.is_grad_enabled() else "measured"
            place = "UNet" if attn_mask is None else "CLIP", where
            assert ways() == FIXED, place
            places.add(place)
        return own(q, k, v, attn_mask, **options)

    def on_a_card(*inputs, **options):
        with sdpa_kernel(COMFYUI, set_priority=True):
            return F.scaled_dot_product_attention(*inputs, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    monkeypatch.setattr(comfy.ops, "scaled_dot_product_attention", on_a_card)
    monkeypatch.setattr(host.model_management, "pytorch_attention_enabled", lambda: True)
    return places


def rehearse(tiny, cached, monkeypatch, *, compact):
    """A step of UNet and text encoders with every level of recomputation, and a validation."""
    plan_of = live_training.memory_plan

    def mixed(*inputs):
        plan = plan_of(*inputs)
        levels = {block: Again(n % len(Again)) for n, block in enumerate(plan.levels)}
        return dataclasses.replace(plan, levels=levels)

    monkeypatch.setattr(live_training, "memory_plan", mixed)
    recipe = dataclasses.replace(RECIPE, compact=compact)
    with torch.inference_mode():
        training.train_lora(scene.request(tiny, cached, recipe, clip=tiny.clip))


@pytest.mark.parametrize("compact", [False, True])
def test_no_attention_of_a_training_asks_cudnn(tiny, cached, seen, monkeypatch, compact):
    """test_what_it_catches plants the faults."""
    rehearse(tiny, cached, monkeypatch, compact=compact)
    of_unet = {("UNet", "step"), ("UNet", "backward"), ("UNet", "measured")}
    assert seen == of_unet | {("CLIP", "step"), ("CLIP", "measured")}


COMFYUIS = {
    unet._OVERRIDE: lambda _, *inputs, **options: host.attention_pytorch(*inputs, **options)
}
PLANTS = {
    "an order that begins with cuDNN": (attending, "ORDER", COMFYUI, "CLIP.*measured"),
    "a validation in whatever order": (measure, "fixed_order", nullcontext, "CLIP.*measured"),
    "a step in whatever order": (gradients, "fixed_order", nullcontext, "CLIP.*step"),
    "ComfyUI's attention in the UNet": (unet, "OPTIONS", COMFYUIS, "UNet.*measured"),
    "ComfyUI's attention in text encoders": (attachment, "attention_plan", lambda _: (), "CLIP"),
}


@pytest.mark.main_host
@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.usefixtures("seen")
def test_what_it_catches(tiny, cached, monkeypatch, plant):
    """Each plant sends some attention of the step or of the validation to ComfyUI's order or to none."""
    *planted, place = PLANTS[plant]
    monkeypatch.setattr(*planted)
    with pytest.raises(AssertionError, match=place):
        rehearse(tiny, cached, monkeypatch, compact=False)


def without_backward(q, k, v, heads, mask=None, **_):
    """As SageAttention's kernels: nothing of it is known to autograd."""
    with torch.no_grad():
        return host.attention_basic(q, k, v, heads, mask)


STARTED = {
    "--use-split-cross-attention": host.attention_split,
    "--use-quad-cross-attention": host.attention_sub_quad,
    "--use-sage-attention": host.wrap_attn(without_backward),
}


def test_however_comfyui_was_started(tiny, monkeypatch):
    """Same gradient, to the bit: nothing of ComfyUI's own attention is in it."""
    base = tiny.model.model.diffusion_model
    plan = leaf_plan(base, Network(find_targets(base, LoraConfig(rank=1))), ComfyWeights())
    shapes = (1, 4, 8, 8), (1,), (1, 77, 48), (1, 32 + 1536)
    inputs = [torch.randn(shape).requires_grad_(True) for shape in shapes]

    def gradient():
        with training_session(), Attachment(plan):
            return torch.autograd.grad(unet.predict(base, *inputs).square().sum(), inputs[0])[0]

    usual = gradient()
    for own in STARTED.values():
        monkeypatch.setattr(host, "optimized_attention", own)
        unet.check_trainable(tiny.model)
        assert torch.equal(gradient(), usual)


@pytest.mark.parametrize("foreign", [without_backward, lambda *_, **__: 1 / 0])
def test_an_attention_that_gives_no_way_is_refused(tiny, monkeypatch, foreign):
    """A node pack's own, which never looks for another one in the options of a forward."""
    monkeypatch.setattr(host, "optimized_attention", foreign)
    with pytest.raises(ValueError, match="attention of its own"):
        unet.check_trainable(tiny.model)
