"""Whether the micro batches of a training are recorded, and with what."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from comfy.cli_args import args
from torch import nn

from ....trainer.config.speed import SpeedConfig
from ....trainer.frozen.weights import Weights
from ....trainer.network.network import Network
from ....trainer.training.cuda_graphs import Graphs
from ....trainer.training.cuda_recorder import CudaRecorder
from ..model.trained_model import TrainedModel

log = logging.getLogger(__name__)


def make_graphs(
    model: TrainedModel,
    speed: SpeedConfig,
    network: Network,
    weights: Weights,
    modules: Iterable[nn.Module],
) -> Graphs | None:
    """The recordings of a training, of adapters on these modules and those beside them.

    None where nobody asked for them or they cannot be; says why not.
    """
    if not speed.cuda_graphs:
        return None
    device = model.device
    reason = obstacle(device, trains_text=model.trains_text)
    if reason is not None:
        log.warning("LoRA Loop: cuda_graphs: %s; no step is recorded.", reason)
        return None
    weighty = [module for module in modules if getattr(module, "weight", None) is not None]
    return Graphs(CudaRecorder(device), network, weights, weighty, model.dtype, device)


def obstacle(device: torch.device, *, trains_text: bool) -> str | None:
    """Why no step of a training can be recorded, or None."""
    if device.type != "cuda":
        return f"the model runs on {device.type}, not on a CUDA device"
    if getattr(args, "disable_cuda_graphs", False):
        return "ComfyUI was started with --disable-cuda-graphs"
    if torch.cuda.get_allocator_backend() != "native":
        # Its memory for graphs is a pool of the driver's that PyTorch cannot give back.
        return "this allocator keeps the memory of recordings; start ComfyUI with --disable-cuda-malloc"
    if trains_text:
        return "text encoders that are trained encode every batch again"
    return None
