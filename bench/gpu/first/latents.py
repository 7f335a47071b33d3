"""SDXL's VAE with made-up weights: latents in 16 bits against float32, and what ComfyUI chooses here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....demo.whole_layers import whole_layers
from ....nodes.host.model.vae import encode_pixels
from ...data.reduced_sdxl import fill
from .verdicts import Place, Row, first_line, measured, waiting

LAYOUT = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3,
    "ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip


def check(place: Place) -> Iterator[Row]:
    """How far off the latents are, relative in the L2 norm: the rounding, not what real weights make of it."""
    state = _weights()
    pixels = _picture(32 if place.small else 1024)
    truth, _ = _encode(state, torch.float32, pixels, place)
    chosen = _vae(state, None).vae_dtype
    yield measured(f"ComfyUI computes this VAE in {str(chosen).removeprefix('torch.')} here")
    for dtype in (torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        try:
            found, ms = _encode(state, dtype, pixels, place)
        except RuntimeError as error:
            yield measured(f"{name}: {first_line(error)}")
            continue
        off = float((found - truth).norm() / truth.norm())
        yield measured(f"{name}: latents off by {off:.1e}, {ms:.0f} ms an image", error=off, ms=ms)
    if not place.is_card:
        yield waiting("the dtype that ComfyUI chooses on a card")


def _weights() -> dict[str, Tensor]:
    """The keys of a VAE's own file."""
    from comfy.ldm.models.autoencoder import AutoencoderKL

    with whole_layers(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoencoderKL(ddconfig=LAYOUT, embed_dim=4)
        fill(model)
    return {key: value.detach() for key, value in model.state_dict().items()}


def _vae(state: dict[str, Tensor], dtype: torch.dtype | None) -> Any:
    import comfy.sd

    make: Any = comfy.sd.VAE
    with torch.inference_mode():
        return make(sd={key: value.clone() for key, value in state.items()}, dtype=dtype)


def _encode(
    state: dict[str, Tensor], dtype: torch.dtype, pixels: np.ndarray, place: Place
) -> tuple[Tensor, float]:
    """Latents, and the milliseconds of the second of two."""
    vae = _vae(state, dtype)
    with torch.inference_mode():
        if not place.small:
            encode_pixels(vae, pixels)  # loads it
        begin = time.perf_counter()
        found = encode_pixels(vae, pixels)
    return found, (time.perf_counter() - begin) * 1000


def _picture(side: int) -> np.ndarray:
    """Shapes and grain, uint8 [1, side, side, 3]."""
    rows, columns = np.mgrid[0:side, 0:side]
    waves = (
        np.sin(rows / 40)[..., None] * np.array([90, 60, 110])
        + np.cos(columns / 23)[..., None] * 30
    )
    grain = np.random.default_rng(3).normal(0, 5, (side, side, 1))
    return (waves + grain + 128).clip(0, 255).astype(np.uint8)[None]
