"""What every way of training is given: one SDXL with random weights, latents and encoded captions."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...demo.whole_layers import whole_layers
from ...trainer.sdxl.constants import LATENT_CHANNELS
from ...trainer.sdxl.token_chunks import CHUNK
from . import reduced_sdxl


@dataclass(frozen=True)
class Scene:
    """One task. small: the reduced SDXL at 256 pixels instead of the real one at 1024.

    dtype: of the frozen weights and of what is computed.
    """

    small: bool
    device: torch.device
    dtype: torch.dtype
    rank: int
    alpha: float

    @property
    def side(self) -> int:
        """Of the latents."""
        return 32 if self.small else 128

    @property
    def as_on_card(self) -> bool:
        """Whether clipping and AdamW take all parameters at once, as PyTorch does on CUDA."""
        return self.device.type == "cuda"

    @property
    def tokens(self) -> int:
        """Of a caption."""
        return CHUNK

    @property
    def context_width(self) -> int:
        return int(self.unet_config["context_dim"])

    @property
    def pooled_width(self) -> int:
        return int(self.unet_config["adm_in_channels"]) - reduced_sdxl.SIZES

    @property
    def unet_config(self) -> dict[str, Any]:
        """Arguments of ComfyUI's UNet class."""
        return reduced_sdxl.config() | ({} if self.small else reduced_sdxl.FULL)

    def building(self) -> AbstractContextManager[Any]:
        """Around the making of a UNet, anybody's."""
        return nullcontext()

    def patcher(self, home: torch.device | None = None, disable_dynamic: bool = False) -> Any:
        """A MODEL as ComfyUI's checkpoint loader makes one; its weights lie at ``home``, else on the device.

        Called in inference mode, as loaders are, their like they are inference tensors. disable_dynamic:
        as in ComfyUI's loaders, since its node calls this to load the model once more.
        """
        import comfy.model_patcher
        import comfy.supported_models

        config = comfy.supported_models.SDXL(dict(self.unet_config))
        config.unet_config.update(self.unet_config)  # it has ideas of its own about heads
        config.set_inference_dtype(self.dtype, None)
        with (
            self.building(),
            whole_layers(),
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
        ):
            torch.manual_seed(0)
            model = config.get_model({}, "", device=self.device)
            reduced_sdxl.fill(model.diffusion_model)
            model.to(home or self.device)
        kind = comfy.model_patcher.ModelPatcher
        if not disable_dynamic:
            kind = getattr(comfy.model_patcher, "CoreModelPatcher", kind)
        patcher = kind(model, load_device=self.device, offload_device=torch.device("cpu"))
        patcher.cached_patcher_init = self.patcher, (home,)
        return patcher

    def unet(self) -> nn.Module:
        """ComfyUI's UNet by itself, on the device."""
        with torch.inference_mode():
            return self.patcher().model.diffusion_model.requires_grad_(False).eval()

    def latents(self, count: int) -> Tensor:
        """[count, 4, h, w] float32, on the CPU; always the same."""
        return self._normal(1, count, LATENT_CHANNELS, self.side, self.side)

    def context(self, count: int) -> Tensor:
        """[count, T, C] float32, on the CPU."""
        return self._normal(2, count, self.tokens, self.context_width)

    def pooled(self, count: int) -> Tensor:
        """[count, P] float32, on the CPU."""
        return self._normal(3, count, self.pooled_width)

    def inputs(self, batch: int) -> reduced_sdxl.Inputs:
        """What the UNet is called with, on the device."""
        y = torch.cat([self.pooled(batch), self._normal(4, batch, reduced_sdxl.SIZES)], dim=1)
        timesteps = torch.linspace(100.0, 900.0, batch)
        there = [
            t.to(self.device, self.dtype) for t in (self.latents(batch), self.context(batch), y)
        ]
        return reduced_sdxl.Inputs(there[0], timesteps.to(self.device), there[1], there[2])

    def _normal(self, seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
