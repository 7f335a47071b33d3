"""The model as it is trained: the UNet of a MODEL, and the text encoders that learn beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from . import clip_training, unet


@dataclass(frozen=True)
class TrainedModel:
    """ComfyUI's MODEL (its patcher) and CLIP for one training."""

    patcher: Any
    clip: Any = None
    """None where it is not connected."""
    trains_text: bool = False
    """Whether the encoders of the CLIP are trained."""
    prefetch: bool = False
    """Fetch the next layer's weights while one computes."""
    managed: bool = True
    """ComfyUI's manager moves the weights; else they lie on the device and nobody moves them."""

    @property
    def unet(self) -> nn.Module:
        return self.patcher.model.diffusion_model

    @property
    def encoders(self) -> Sequence[nn.Module]:
        """The text encoders, where they are trained."""
        return clip_training.encoders(self.clip) if self.trains_text else ()

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return self.patcher.load_device

    @property
    def dtype(self) -> torch.dtype:
        """What the UNet computes in."""
        return unet.compute_dtype(self.patcher)

    @property
    def patchers(self) -> list[Any]:
        """Those that training goes through: the UNet's, and that of text encoders if trained."""
        return [self.patcher, self.clip.patcher] if self.trains_text else [self.patcher]
