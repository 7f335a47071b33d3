"""The trained base model as a single-file checkpoint that any loader of ComfyUI takes.

The repository holds the UNet only: the text encoders come from their seed, the VAE is set by hand.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from .. import tiny_sdxl, tiny_vae
from ..whole_layers import whole_layers
from . import network

WEIGHTS = Path(__file__).with_name("unet.safetensors")
SHA256 = "443e281fdf1cc4ab8f24a3d1f293ac3adbeba5dc8587b794c4c61190ea9f3cd2"


def register() -> type:
    """Make ComfyUI recognise the base model; calling it again changes nothing."""
    return tiny_sdxl.register("DrawingSDXL", network.UNET_MATCH)


def weights() -> dict[str, Tensor]:
    """The trained UNet, fp16, without `label_emb`. Raises ValueError when the file is damaged."""
    from safetensors.torch import load

    content = WEIGHTS.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"{WEIGHTS} is damaged: its SHA-256 is not that of the repository's file")
    return load(content)


def write(path: str | Path) -> Path:
    """Write the checkpoint to `path` and return it."""
    model = register()(network.UNET_CONFIG)
    unet = network.new_unet(0).state_dict() | weights()  # its label_emb is zero, as in training
    with whole_layers():
        clip = network.new_clip(model.clip_class).state_dict()
    tensors = {
        **model.process_unet_state_dict_for_saving(unet),
        **model.process_clip_state_dict_for_saving(clip),
        **tiny_vae.state_dict(network.SPREAD),
    }
    return tiny_sdxl.save(path, tensors, torch.float16)
