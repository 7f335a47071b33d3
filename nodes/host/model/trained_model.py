"""The model as it is trained: the UNet of a MODEL, and the text encoders that learn beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from . import clip_training, unet
from .host_types import Clip, ModelPatcher, Patcher


@dataclass(frozen=True)
class TrainedModel:
    """ComfyUI's MODEL (its patcher) and CLIP for one training."""

    patcher: ModelPatcher
    clip: Clip | None = None
    """None where it is not connected."""
    trains_text: bool = False
    """Whether the encoders of the CLIP are trained."""
    managed: bool = True
    """ComfyUI's manager moves the weights; else they lie on the device and nobody moves them."""

    @property
    def unet(self) -> nn.Module:
        return self.patcher.model.diffusion_model

    @property
    def trained_clip(self) -> Clip:
        """The CLIP whose encoders are trained; only where they are."""
        assert self.clip is not None
        return self.clip

    @property
    def encoders(self) -> Sequence[nn.Module]:
        """The text encoders, where they are trained."""
        return clip_training.encoders(self.trained_clip) if self.trains_text else ()

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return self.patcher.load_device

    @property
    def dtype(self) -> torch.dtype:
        """What the UNet computes in."""
        return unet.compute_dtype(self.patcher)

    @property
    def patchers(self) -> list[Patcher]:
        """Those that training goes through: the UNet's, and that of text encoders if trained."""
        return [self.patcher, self.trained_clip.patcher] if self.trains_text else [self.patcher]
