"""Where a training starts: fresh adapters, or a LoRA out of ComfyUI's folders."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import nn

from ....trainer.frozen.weights import Weights
from ....trainer.network.network import Network
from ....trainer.network.text_targets import run_targets
from .request import Request

log = logging.getLogger(__name__)


def make_network(
    request: Request, encoders: Sequence[nn.Module], device: torch.device, weights: Weights
) -> Network:
    """The adapters of a training before its first step; ``encoders`` are those that are trained."""
    unet, config, start = request.patcher.model.diffusion_model, request.config, request.start
    if start is None:
        return Network(run_targets(unet, encoders, config), config.seed, device, weights)
    network = Network(start.targets(unet, encoders, config), config.seed, device, weights)
    log.info("LoRA Loop: %s", "; ".join(start.load(network)))
    return network
