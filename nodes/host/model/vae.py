"""ComfyUI's VAE as an encoder of images, and images as ComfyUI's IMAGE."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import comfy.model_management as mm
import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ....base.lettering import sentence
from ....trainer.cache.encoding import TooLarge
from .accounts import VAE, VAE_REFUSED
from .contents import content_digest
from .fingerprint import fingerprint, foreign
from .host_types import Vae

log = logging.getLogger(__name__)


def encode_pixels(vae: Vae, pixels: np.ndarray) -> Tensor:
    """uint8 RGB [N, H, W, 3] -> unscaled latents [N, 4, H/8, W/8] float32 on the CPU.

    Bytes go to the VAE's device and become 0..1 there. ComfyUI's encode gives the mode of the
    posterior, so it is deterministic, and takes fewer images at a time where memory is short.
    Raises TooLarge where it would make tiles: of one image only after all else has left the device.
    """
    device = vae.patcher.load_device
    shown = torch.from_numpy(pixels).to(device).float().div_(255)
    for _ in range(2 if len(pixels) == 1 else 1):
        try:
            with _whole(vae):
                return vae.encode(shown).float().cpu()
        except _NoMemoryError:
            log.debug("LoRA Loop: out of memory in the VAE for %d image(s)", len(pixels))
        mm.free_memory(1e30, device)
        mm.soft_empty_cache()
    raise TooLarge(lambda: vae.encode_tiled(shown).float().cpu())


class _NoMemoryError(Exception):
    """ComfyUI's VAE ran out of memory."""


@contextmanager
def _whole(vae: Any) -> Iterator[None]:
    """ComfyUI's encode never turns to tiles, which it else does by itself when memory runs out."""

    def refuse(*_: object, **__: object) -> Tensor:
        raise _NoMemoryError

    vae.encode_tiled_ = refuse
    try:
        yield
    finally:
        del vae.encode_tiled_


def precision(vae: Vae) -> str:
    """In what and where it encodes, for the log."""
    dtype = getattr(vae, "vae_dtype", None)
    return f"{str(dtype).removeprefix('torch.')} on {vae.patcher.load_device}"


def vae_fingerprint(vae: Vae) -> str:
    """Digest of whatever a latent depends on but its pixels: weights, dtype, what goes before and behind."""
    more = [(name, content_digest(value)) for name, value in _unusual(vae)]
    return fingerprint(vae.patcher, "vae", *((more,) if more else ()))


def _unusual(vae: Vae) -> Iterator[tuple[str, object]]:
    """What of a VAE is not as SDXL's usually is; a freshly loaded one has none of it."""
    for name, usual in {**VAE, **VAE_REFUSED}.items():
        held = getattr(vae, name, usual)
        if held != usual:
            yield name, held
    weights = vae.patcher.model.state_dict().values()
    stored = next((one.dtype for one in weights if one.is_floating_point()), None)
    dtype = getattr(vae, "vae_dtype", stored)
    if dtype != stored:
        yield "vae_dtype", dtype
    given = getattr(vae, "vae_output_dtype", lambda: torch.float32)()
    if given != torch.float32:  # --fp16-intermediates
        yield "vae_output_dtype", given
    prepare = getattr(vae, "process_input", None)
    if prepare is not None and not _is_usual(prepare):
        yield "process_input", prepare
    if getattr(vae, "first_stage_model", vae.patcher.model) is not vae.patcher.model:
        yield "first_stage_model", getattr(vae, "first_stage_model", None)
    yield from foreign(vae)


def _is_usual(prepare: Callable[[Tensor], Tensor]) -> bool:
    """Whether pixels of 0..1 become -1..1, as SDXL's VAE takes them."""
    probe = torch.linspace(0, 1, 48).reshape(1, 3, 4, 4)
    given = prepare(probe.clone())
    return given.shape == probe.shape and torch.equal(given, probe * 2.0 - 1.0)


def check_vae(vae: Vae) -> None:
    """Refuse a VAE whose latents are not SDXL's. Raises ValueError."""
    for name, usual in VAE_REFUSED.items():
        held = getattr(vae, name, usual)
        if held != usual:
            raise ValueError(
                f"This VAE is not one of SDXL: its {name} is {held}, and SDXL's is {usual}. Connect the VAE "
                "output of the checkpoint loader that the MODEL comes from, or another VAE for SDXL."
            )


def to_image(array: np.ndarray) -> Tensor:
    """HWC uint8 -> IMAGE [1, H, W, 3] float32 in 0..1."""
    return torch.from_numpy(array.astype(np.float32) / 255.0)[None]


def to_pil(image: Tensor) -> Image.Image:
    """One image [H, W, 3] float in 0..1 -> PIL."""
    return Image.fromarray((image.float().cpu().clamp(0, 1).numpy() * 255).round().astype(np.uint8))


def to_png(image: Image.Image, texts: Mapping[str, str] | None = None) -> bytes:
    """A PIL image as the bytes of a PNG file; ``texts`` stand in it by their names."""
    buffer, info = io.BytesIO(), PngInfo()
    for name, text in (texts or {}).items():
        info.add_text(name, text)
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def told_image(text: str) -> Tensor:
    """A sentence as an IMAGE, where an output has nothing to show: what takes images goes on working."""
    return to_image(sentence(text))
