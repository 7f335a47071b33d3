"""What can be set about the cache: buckets, flipping, and how images and captions are encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...base.config import Config, Problems
from ..sdxl.buckets import BucketConfig

Chunks = Literal["comfyui", "kohya 75", "kohya 150", "kohya 225"]
"""How a long caption is cut: as ComfyUI does in prompts, or as kohya does under a max_token_length."""


@dataclass(frozen=True)
class TextConfig(Config):
    """How captions are encoded."""

    title = "Text settings"

    chunks: Chunks = "comfyui"
    """A long caption is cut into chunks in this way (kohya: max_token_length)."""
    weighted: bool = False
    """Brackets are read as weights, ``(like this:1.2)``, instead of as letters."""

    def check(self, problems: Problems) -> None:
        problems.one_of("chunks", self.chunks, Chunks)


AS_PROMPTS = TextConfig()
"""ComfyUI's chunks, brackets literal: the default."""


@dataclass(frozen=True)
class CacheConfig(Config):
    """How a dataset is cached."""

    title = "Cache settings"

    buckets: BucketConfig = BucketConfig()  # noqa: RUF009 (frozen)
    """Images are grouped by shape in this way, unless their folder has buckets of its own."""
    flip: bool = False
    """Every image is cached flipped left to right as well, and training takes either at random."""
    kohya: bool = False
    """Images are decoded and their size conditioning is made exactly as in kohya's scripts."""
    batch_size: int = 1
    """So many images are encoded at a time, 1 to 64, or about four megapixels of them at 0; only speed
    and memory depend on it."""
    more_resolutions: tuple[int, ...] = ()
    """Every image comes once more at about each of these side lengths, in pixels."""
    texts: TextConfig = AS_PROMPTS
    """Captions are encoded in this way."""
    fresh_samples: bool = False
    """The deviation that the VAE gives with each latent is cached too, and training takes a fresh sample
    of it whenever an image is shown, instead of the mean."""

    def check(self, problems: Problems) -> None:
        problems.need(
            0 <= self.batch_size <= 64, f"vae_batch_size is {self.batch_size}; it must lie in 0..64"
        )
