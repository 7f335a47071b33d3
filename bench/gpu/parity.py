"""Before anything is timed: ours gives finite losses and the gradients of the plain way."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from ...nodes.host.model.unet import predict
from ...nodes.host.model.weights import ComfyWeights
from ...trainer.config.lora import LoraConfig
from ...trainer.layers.attach import Attachment
from ...trainer.layers.compact_plan import compact_plan
from ...trainer.network.network import Network
from ...trainer.network.unet_targets import find_targets
from ..data.scene import Scene
from ..peers.plain_lora import Naive

BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Largest relative L2 difference of all gradients together."""


def parity(scene: Scene) -> list[dict[str, Any]]:
    """The reduced SDXL in float32, then the scene's own in its dtype."""
    torch.backends.cudnn.allow_tf32 = False
    reduced = dataclasses.replace(scene, small=True, dtype=torch.float32)
    scenes = [reduced] if scene == reduced else [reduced, scene]
    return [_compare(each) for each in scenes]


def _compare(scene: Scene) -> dict[str, Any]:
    unet, inputs = scene.unet(), scene.inputs(1)
    targets = find_targets(unet, LoraConfig(rank=scene.rank, alpha=scene.alpha))
    network = Network(targets, device=scene.device)
    naive = Naive(unet, [target.path for target in targets], scene.rank, scene.alpha)
    rng = torch.Generator(scene.device).manual_seed(0)
    with torch.no_grad():
        for adapter, (down, up) in zip(network.adapters.values(), naive.factors, strict=True):
            our_down, our_up = _factors(adapter)
            our_up.normal_(std=0.02, generator=rng)
            down.copy_(our_down)
            up.copy_(our_up)
    with Attachment(compact_plan(unet, network, ComfyWeights())):
        losses = [_backward(unet, inputs)]
    losses.append(_backward(naive.unet, inputs))
    wrong = norm = 0.0
    for adapter, factors in zip(network.adapters.values(), naive.factors, strict=True):
        for ours, plain in zip(_factors(adapter), factors, strict=True):
            assert ours.grad is not None and plain.grad is not None
            wrong += float((ours.grad - plain.grad).double().square().sum())
            norm += float(plain.grad.double().square().sum())
    difference = (wrong / norm) ** 0.5
    return {
        "unet": "reduced" if scene.small else "full size",
        "dtype": str(scene.dtype).removeprefix("torch."),
        "losses": losses,
        "difference": difference,
        "bound": BOUNDS[scene.dtype],
        "passed": difference < BOUNDS[scene.dtype],  # not so for NaN
    }


def _factors(adapter: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    return adapter.get_parameter("down"), adapter.get_parameter("up")


def _backward(unet: nn.Module, inputs: Any) -> float:
    loss = predict(unet, *inputs).float().square().mean()
    loss.backward()
    return loss.item()
