"""The base model's network: SDXL's classes, 3.6 million weights; words reach it by attention only."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import tiny_sdxl
from ..whole_layers import whole_layers

SPREAD = 2.5  # flat colours reach further from grey than photographs do
UNET_MATCH = {**tiny_sdxl.UNET_MATCH, "transformer_depth": [0, 0, 1, 1, 1, 1]}
UNET_CONFIG = {
    **tiny_sdxl.UNET_CONFIG,
    **UNET_MATCH,
    "channel_mult": [1, 1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1],
}
ADM = UNET_MATCH["adm_in_channels"]
TEXT_SEED = 15
APART = ("position_embedding.weight", "out_proj.weight", "fc2.weight")


def new_unet(seed: int) -> Any:
    """Untrained; `label_emb` is zero and stays so: no size and no pooled text can upset it."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    with whole_layers():
        unet = UNetModel(
            **UNET_CONFIG,
            device="cpu",
            dtype=torch.float32,
            operations=comfy.ops.disable_weight_init,
        )
    generator = torch.Generator().manual_seed(seed)
    tensors = tiny_sdxl.random_like(unet.state_dict(), generator)
    for key, tensor in tensors.items():
        if key.startswith("label_emb") or key.endswith(("out_layers.3.weight", "proj_out.weight")):
            tensor.zero_()
    tiny_sdxl.add_identity_path(tensors, 1.0)
    unet.load_state_dict(tensors)
    unet.label_emb.requires_grad_(False)
    return unet


def new_clip(clip_class: Any) -> Any:
    """Random text encoders that keep words apart wherever they stand.

    Each tensor has a seed of its own name's: no order of the layers can change it.
    """
    with torch.no_grad():
        clip = clip_class(device="cpu", dtype=torch.float32)
    tensors = {}
    for key, like in clip.state_dict().items():
        generator = torch.Generator().manual_seed(TEXT_SEED + zlib.crc32(key.encode()))
        tensors[key] = tiny_sdxl.random_tensor(key, like, generator)
        if key.endswith(APART):
            tensors[key] *= 0.3
    clip.load_state_dict(tensors)
    return clip


def to_latents(pictures: np.ndarray) -> Tensor:
    """uint8 `[N, 16, 16, 3]` to what the VAE makes of each pixel as a square of 8x8."""
    latents = (torch.from_numpy(pictures).float().permute(0, 3, 1, 2) / 255 - 0.5) * SPREAD
    return torch.cat([latents, latents.mean(1, keepdim=True)], 1)


def to_pictures(latents: Tensor) -> np.ndarray:
    """Latents `[N, 4, h, w]` to uint8 `[N, h, w, 3]`."""
    colours = (latents[:, :3] / SPREAD + 0.5).clamp(0, 1) * 255
    return colours.round().byte().permute(0, 2, 3, 1).numpy()


def predict(unet: Any, noisy: Tensor, timesteps: Tensor, words: Tensor) -> Tensor:
    """The noise, `[N, 4, h, w]`, by the words `[N, 77, 48]`."""
    return unet(noisy, timesteps, context=words, y=torch.zeros(len(noisy), ADM))


def signal() -> Tensor:
    """SDXL's share of signal, squared, at each of its 1000 timesteps."""
    betas = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


@torch.no_grad()
def draw(unet: Any, words: Tensor, nothing: Tensor, steps: int = 16, cfg: float = 3.0) -> Tensor:
    """Latents `[N, 4, 16, 16]` by DDIM, the n-th with seed n."""
    count, share = len(words), signal()
    seeds = (torch.Generator().manual_seed(seed) for seed in range(count))
    latents = torch.stack([torch.randn(4, 16, 16, generator=seed) for seed in seeds])
    both = torch.cat([words, nothing.expand_as(words)])
    times = torch.linspace(999, 0, steps).round().long()
    for now, after in zip(times, [*share[times[1:]], torch.tensor(1.0)], strict=True):
        twice = latents.repeat(2, 1, 1, 1)
        wanted, other = predict(unet, twice, now.repeat(2 * count), both).float().chunk(2)
        noise = other + cfg * (wanted - other)
        clean = (latents - (1 - share[now]).sqrt() * noise) / share[now].sqrt()
        latents = after.sqrt() * clean + (1 - after).sqrt() * noise
    return latents
