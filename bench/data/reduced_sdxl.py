"""SDXL's UNet for counting and timing: in small with random weights, and full size without any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...demo.whole_layers import whole_layers
from ...trainer.sdxl.constants import (
    CONTEXT_WIDTH,
    LATENT_CHANNELS,
    NUMBER_WIDTH,
    SIZE_NUMBERS,
    Y_WIDTH,
)
from ...trainer.sdxl.token_chunks import CHUNK

CONTEXT, POOLED = 256, 128
SIZES = SIZE_NUMBERS * NUMBER_WIDTH
"""Width of the size conditioning that follows the pooled text in y."""


FULL: dict[str, Any] = {
    "model_channels": 320,
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "context_dim": CONTEXT_WIDTH,
    "adm_in_channels": Y_WIDTH,
}
"""Where the real one differs from `config()`."""


class Inputs(NamedTuple):
    """What the UNet is called with: x [B, 4, h, w], timesteps [B], context [B, T, C], y [B, Y]."""

    x: Tensor
    timesteps: Tensor
    context: Tensor
    y: Tensor


def make_unet(dtype: torch.dtype = torch.float32, device: str = "cpu") -> nn.Module:
    """ComfyUI's own UNet class, width 64 instead of 320, its weights inference tensors as after loading."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    with whole_layers(), torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNetModel(**config(), dtype=dtype, device=device, operations=comfy.ops.manual_cast)
        fill(unet)
    return unet.requires_grad_(False).eval()


def fill(unet: nn.Module) -> None:
    """Random weights that keep the size of what passes through; never zeros, which are faster to multiply."""
    for name, parameter in unet.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
        else:
            parameter.normal_(std=0.1).add_(0.0 if name.endswith("bias") else 1.0)


def full_size(depth: int | None = None, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """The real one on the meta device; with a depth, at most so many transformer blocks at a place."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    full = dict(FULL)
    if depth is not None:
        for name in ("transformer_depth", "transformer_depth_output"):
            full[name] = [min(depth, count) for count in full[name]]
        full["transformer_depth_middle"] = min(depth, full["transformer_depth_middle"])
    operations = comfy.ops.disable_weight_init
    with whole_layers():
        unet = UNetModel(**config() | full, dtype=dtype, device="meta", operations=operations)
    return unet.requires_grad_(False).eval()


def config() -> dict[str, Any]:
    """Arguments of the UNet class: SDXL's, in small."""
    return {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 64,
        "num_res_blocks": 2,
        "channel_mult": (1, 2, 4),
        "transformer_depth": [0, 0, 1, 1, 4, 4],
        "transformer_depth_middle": 4,
        "transformer_depth_output": [0, 0, 0, 1, 1, 1, 4, 4, 4],
        "context_dim": CONTEXT,
        "adm_in_channels": POOLED + SIZES,
        "num_classes": "sequential",
        "use_linear_in_transformer": True,
        "num_heads": -1,
        "num_head_channels": 64,
        "use_spatial_transformer": True,
    }


def full_shapes(side: int, chunks: int = 1) -> tuple[tuple[int, ...], ...]:
    """Of x, timesteps, context and y for one latent of that side and so many chunks of text, full size."""
    text = 1, chunks * CHUNK, CONTEXT_WIDTH
    return (1, LATENT_CHANNELS, side, side), (1,), text, (1, Y_WIDTH)


def make_inputs(batch: int = 1, side: int = 32) -> Inputs:
    """Random ones, always the same."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng)

    return Inputs(
        normal(batch, LATENT_CHANNELS, side, side),
        torch.linspace(100.0, 900.0, batch),
        normal(batch, CHUNK, CONTEXT),
        normal(batch, POOLED + SIZES),
    )


class MetaWeights:
    """The weights of a model on the meta device; there is nothing to move."""

    @contextmanager
    def hold(self, modules: Iterable[nn.Module]) -> Iterator[int]:
        """As trainer.frozen.weights.Weights."""
        yield 0

    @contextmanager
    def borrow(self, module: Any, dtype: torch.dtype, device: torch.device) -> Iterator[Any]:
        """As trainer.frozen.weights.Weights."""
        bias = None if module.bias is None else module.bias.detach()
        yield module.weight.detach(), bias
