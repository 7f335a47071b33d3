"""What is computed again in backward on CUDA: the same LoRA, attention kept, and less memory."""

import dataclasses

import pytest
import torch

from pack.bench.data import reduced_sdxl
from pack.bench.gpu.first.levels import Attentions
from pack.nodes.host.model.unet import predict
from pack.nodes.host.model.weights import ComfyWeights
from pack.tests.gpu.card import DEVICE, IS_CARD, allocated
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.layers.attach import Attachment, checkpoint_plan
from pack.trainer.layers.compact_plan import compact_plan
from pack.trainer.layers.recompute import Again, find_blocks
from pack.trainer.memory.optimiser_bytes import learned_bytes
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets


def make_network(unet):
    network = Network(find_targets(unet, LoraConfig(rank=8)), device=DEVICE)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for adapter in network.adapters.values():
            adapter.up.copy_(0.02 * torch.randn(adapter.up.shape, generator=rng))
    return network


def step(level, dtype):
    """(gradients, bytes kept between forward and backward, attention kernels forward)"""
    unet = reduced_sdxl.make_unet(dtype, DEVICE.type)
    network = make_network(unet)
    levels = dict.fromkeys(find_blocks(unet), level)
    inputs = [x.to(DEVICE, dtype) for x in reduced_sdxl.make_inputs(1, 64 if IS_CARD else 16)]
    plan = compact_plan(unet, network, ComfyWeights(), levels)
    with Attachment([*plan, *checkpoint_plan(unet, levels, plan)]):
        before = allocated()
        with Attentions() as attentions:
            loss = predict(unet, *inputs).float().square().mean()
            kept = allocated() - before
            loss.backward()
    return [factor.grad for factor in network.parameters()], kept, attentions.calls.total()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_levels_give_the_same_gradients_in_less_memory(dtype):
    plain, most, attentions = step(Again.NOTHING, dtype)
    assert attentions > 0  # else nothing is counted here
    near = 1e-5 if dtype is torch.float32 else 1e-2
    for level in list(Again)[1:]:
        grads, kept, again = step(level, dtype)
        assert kept < most or not IS_CARD
        most = kept
        assert again == (2 * attentions if level is Again.ALL else attentions)
        for ours, theirs in zip(grads, plain, strict=True):
            assert (ours - theirs).norm() <= near * theirs.norm()


@pytest.mark.parametrize("kind", ["AdamW", "AdamW8bit", "PagedAdamW8bit", "Prodigy"])
def test_what_an_optimiser_keeps_is_found_on_the_device(kind):
    pytest.importorskip({"AdamW": "torch", "Prodigy": "prodigyopt"}.get(kind, "bitsandbytes"))
    unet = reduced_sdxl.make_unet(torch.bfloat16, DEVICE.type)
    parameters = make_network(unet).parameters()
    count = sum(parameter.numel() for parameter in parameters)
    config = dataclasses.replace(OptimiserConfig(), type=kind)
    assert 10 <= learned_bytes(config, parameters) / count <= 24.1
