"""One optimiser step on CUDA: the numbers of the CPU, and nothing waited for but one read."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from pack.tests.gpu.card import DEVICE, IS_CARD, needs_card
from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache
from pack.tests.trainer.tiny_run import CONFIG, Observer
from pack.tests.trainer.tiny_unet import PlainWeights, make_model
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup
from pack.trainer.training import loop as loop_module
from pack.trainer.training.loop import Loop

SHAPES = [(32, 640), (640, 32), (7,), (16, 4, 3, 3)]
CPU = torch.device("cpu")


def steps(device, kind, count=5):
    """Parameters after some steps on a device, with gradients that are the same on each."""
    rng = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(s, generator=rng).to(device)) for s in SHAPES]
    config = OptimiserConfig(type=kind, learning_rate=0.01, max_grad_norm=1.0)
    optimiser = Optimiser([ParameterGroup(parameters)], config, device=device)
    norms = []
    for _ in range(count):
        pulls = [torch.randn(shape, generator=rng).to(device) for shape in SHAPES]
        optimiser.backward(sum((p * g).sum() for p, g in zip(parameters, pulls, strict=True)))
        norms.append(optimiser.step(0.01).grad_norm)
    return [p.detach().cpu() for p in parameters], norms, optimiser


@pytest.mark.parametrize("kind", ["AdamW", "Adam", "Lion", "SGDNesterov"])
def test_flat_steps_are_those_of_the_cpu(kind):
    if kind == "Lion":
        pytest.importorskip("lion_pytorch")
    (ours, norms, optimiser), (theirs, expected, other) = (steps(d, kind) for d in (DEVICE, CPU))
    assert norms == pytest.approx(expected, rel=1e-5)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    fused = bool(optimiser._inner.param_groups[0].get("fused"))
    assert fused == (kind in ("AdamW", "Adam")) or not IS_CARD
    other.load(optimiser.state())  # a state goes from one device to the other
    optimiser.load(other.state())


@needs_card
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_step_waits_for_the_device_once(tmp_path, monkeypatch, dtype):
    """From the first read on, that is: the first step sets things up."""
    reads, plain = [], loop_module.read

    def read(tensors):
        torch.cuda.set_sync_debug_mode("default")
        reads.append(plain(tensors))
        torch.cuda.set_sync_debug_mode("error")
        return reads[-1]

    monkeypatch.setattr(loop_module, "read", read)
    block = type("SpatialTransformer", (nn.Sequential,), {})(nn.Conv2d(4, 4, 1))
    unet = nn.Sequential(block).requires_grad_(False).to(DEVICE)
    network = Network(find_targets(unet, CONFIG.lora), device=DEVICE)
    model = make_model(unet)
    schedule = model.schedule.to(DEVICE)
    model = dataclasses.replace(
        model, predict=lambda x, *_: unet(x), schedule=schedule, device=DEVICE, dtype=dtype
    )
    data = TrainingData(make_cache(tmp_path), FINGERPRINT)
    try:
        with Attachment(leaf_plan(unet, network, PlainWeights())):
            outcome = Loop(model, network, data, CONFIG).run(Observer())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(reads) == outcome.steps == CONFIG.steps
    assert all(math.isfinite(loss) for loss in outcome.losses)
