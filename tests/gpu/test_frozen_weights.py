"""Gradients and memory through weights that are evicted, streamed or kept in 8 bits, against resident ones.

The first test is the one that all others stand on: ComfyUI may move weights between forward and backward.
"""

import comfy.model_management as mm
import pytest
import torch
import torch.nn.functional as F

from pack.nodes.host.model import frozen_weights, memory
from pack.nodes.host.model import unet as host_unet
from pack.nodes.host.model.autograd_session import training_session
from pack.tests.gpu.card import IS_CARD, allocated, changed, needs_card
from pack.tests.host import scene
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

RESIDENT = SpeedConfig()
STREAMED = SpeedConfig(stream_weights=True)


def evict(tiny):
    """Have ComfyUI take all weights off the card that it can, by whatever means this version has."""
    patcher = tiny.model
    with torch.inference_mode():
        patcher.partially_unload(patcher.offload_device, 1 << 40)


def gradients(tiny, speed=RESIDENT, *, between=lambda tiny: None, checkpointing=False):
    """(output, all gradients in a row, peak bytes) of one step of adapters on the live UNet."""
    patcher, device = tiny.model, tiny.model.load_device
    with torch.inference_mode():
        memory.make_room([patcher], 1 << 28, first_leaves=speed.model_leaves_card)
    unet, dtype = patcher.model.diffusion_model, host_unet.compute_dtype(patcher)
    rng = torch.Generator().manual_seed(0)
    side = 32 if IS_CARD else 8
    shapes = (2, 4, side, side), (2, 77, 48), (2, 32 + 1536)
    x, context, y = (torch.randn(s, generator=rng).to(device, dtype) for s in shapes)
    with training_session():
        weights = frozen_weights.frozen_weights(patcher, speed)
        net = Network(find_targets(unet, LoraConfig(rank=4, conv_rank=4)), 0, device)
        with torch.no_grad():
            for adapter in net.adapters.values():
                adapter.up.copy_(torch.randn(adapter.up.shape, generator=rng) * 0.02)
        plan = leaf_plan(unet, net, weights)
        blocks = checkpoint_plan(unet) if checkpointing else []
        with weights.hold(step.module for step in plan), Attachment([*plan, *blocks]):
            for _ in range(3):  # from the second on, the ring holds blocks of the one before
                mm.soft_empty_cache()
                if IS_CARD:
                    torch.cuda.reset_peak_memory_stats(device)
                output = host_unet.predict(
                    unet, x, torch.tensor([300.0, 800.0], device=device), context, y
                )
                between(tiny)
                grads = torch.autograd.grad(output.float().square().mean(), net.parameters())
    peak = torch.cuda.max_memory_allocated(device) if IS_CARD else 0
    return output.detach(), torch.cat([grad.flatten() for grad in grads]), peak


@pytest.fixture
def exact():
    """The same numbers whenever the same kernels run."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before)


def distances(one, other):
    """Relative distance of the outputs and of the gradients."""
    assert one[0].isfinite().all() and one[1].isfinite().all() and one[1].any()
    pairs = zip(one[:2], other[:2], strict=True)
    return [float((a.double() - b.double()).norm() / b.double().norm()) for a, b in pairs]


def equal(one, other, again):
    """Whether two are as near to each other as ``other`` is to its repetition ``again``: bit for bit
    where the kernels are deterministic."""
    spread = distances(again, other)
    return all(a <= 2 * b for a, b in zip(distances(one, other), spread, strict=True))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_evicted_weights_give_the_same_gradients(tiny, exact, checkpointing):
    """With dynamic VRAM too: once more with DYNAMIC_VRAM=1."""
    resident, again = (gradients(tiny, checkpointing=checkpointing) for _ in range(2))
    assert equal(gradients(tiny, between=evict, checkpointing=checkpointing), resident, again)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_streamed_weights_give_the_same_gradients(tiny, exact, checkpointing):
    resident, again = (gradients(tiny, checkpointing=checkpointing) for _ in range(2))
    assert equal(gradients(tiny, STREAMED, checkpointing=checkpointing), resident, again)


@pytest.mark.parametrize(("name", "least"), [("int8", 0.99), ("fp8", 0.95)])
def test_weights_in_8_bits_give_gradients_close_to_these(tiny, exact, name, least):
    resident = gradients(tiny)
    quantised, again = (gradients(tiny, SpeedConfig(frozen_weights=name)) for _ in range(2))
    assert float(F.cosine_similarity(quantised[1], resident[1], dim=0)) > least
    streamed = gradients(tiny, SpeedConfig(frozen_weights=name, stream_weights=True))
    assert equal(streamed, quantised, again)


@needs_card
def test_streaming_takes_less_memory(tiny):
    if memory.is_dynamic(tiny.model):
        pytest.skip("ComfyUI pages the weights of this model by itself")
    resident, streamed = (
        gradients(tiny, checkpointing=True),
        gradients(tiny, STREAMED, checkpointing=True),
    )
    spared = frozen_weights.spared_bytes(tiny.model, STREAMED)
    assert spared > 1 << 20
    assert streamed[2] < resident[2] - 0.8 * spared


@pytest.mark.parametrize(
    "speed",
    [
        STREAMED,
        SpeedConfig(frozen_weights="int8"),
        SpeedConfig(stream_weights=True, frozen_weights="fp8"),
    ],
)
def test_the_model_is_as_before(tiny, speed):
    scene.sample(tiny.model, tiny.clip)
    image, before = scene.sample(tiny.model, tiny.clip), scene.snapshot(tiny.model)
    values = {key: value.cpu().clone() for key, value in tiny.model.model_state_dict().items()}
    taken = allocated()
    gradients(tiny, speed)
    assert changed(before, tiny) == []
    assert torch.equal(scene.sample(tiny.model, tiny.clip), image)
    assert all(torch.equal(v.cpu(), values[k]) for k, v in tiny.model.model_state_dict().items())
    assert allocated() <= taken + (1 << 20)  # the ring is gone
