"""What can be set about the cache: buckets, mirroring, and how pictures and captions are encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..sdxl.buckets import BucketConfig

Chunks = Literal["comfyui", "kohya 75", "kohya 150", "kohya 225"]
"""How a long caption is cut: as ComfyUI does in prompts, or as kohya does under a max_token_length."""


@dataclass(frozen=True)
class TextConfig:
    """How captions are encoded. ``weighted``: brackets are weights, ``(like this:1.2)``, not letters."""

    chunks: Chunks = "comfyui"
    weighted: bool = False


AS_PROMPTS = TextConfig()
"""ComfyUI's chunks, brackets literal: the default."""


@dataclass(frozen=True)
class CacheConfig:
    """How a dataset is cached. ``kohya``: decode and condition exactly as kohya's scripts do."""

    buckets: BucketConfig = BucketConfig()  # noqa: RUF009 (frozen)
    flip: bool = False
    kohya: bool = False
    batch_size: int = 1
    """Pictures encoded at a time, 0: about four megapixels; only speed and memory depend on it."""
    more_resolutions: tuple[int, ...] = ()
    """Every picture comes once more at each of these."""
    texts: TextConfig = AS_PROMPTS

    def __post_init__(self) -> None:
        if not 0 <= self.batch_size <= 64:
            raise ValueError(f"Cache settings: vae_batch_size is {self.batch_size}; 0..64.")
