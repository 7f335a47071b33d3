"""ComfyUI's VAE as an encoder of images, and images as ComfyUI's IMAGE."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .fingerprint import fingerprint
from .host_types import Vae


def encode_pixels(vae: Vae, pixels: np.ndarray) -> Tensor:
    """uint8 RGB [N, H, W, 3] -> unscaled latents [N, 4, H/8, W/8] float32 on the CPU.

    Bytes go to the VAE's device and become 0..1 there. ComfyUI's encode gives the mode of the
    posterior, so it is deterministic, and takes fewer images at a time where memory is short.
    """
    shown = torch.from_numpy(pixels).to(vae.patcher.load_device).float().div_(255)
    return vae.encode(shown).float().cpu()


def vae_fingerprint(vae: Vae) -> str:
    return fingerprint(vae.patcher, "vae")


def to_image(array: np.ndarray) -> Tensor:
    """HWC uint8 -> IMAGE [1, H, W, 3] float32 in 0..1."""
    return torch.from_numpy(array.astype(np.float32) / 255.0)[None]


def to_pil(image: Tensor) -> Image.Image:
    """One image [H, W, 3] float in 0..1 -> PIL."""
    return Image.fromarray((image.float().cpu().clamp(0, 1).numpy() * 255).round().astype(np.uint8))


def to_png(image: Image.Image) -> bytes:
    """A PIL image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def empty_image() -> Tensor:
    """A grey stand-in where an IMAGE output has nothing to show."""
    return torch.full((1, 64, 64, 3), 0.5)
