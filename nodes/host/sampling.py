"""Previews: pictures sampled with the live adapters by ComfyUI's own sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from .text import conditioning


def samplers() -> list[str]:
    """The samplers of this ComfyUI."""
    return list(comfy.samplers.KSampler.SAMPLERS)


def schedulers() -> list[str]:
    """The schedulers of this ComfyUI."""
    return list(comfy.samplers.KSampler.SCHEDULERS)


@dataclass(frozen=True)
class PreviewSettings:
    """What to sample and when. prompts: one per line; every: steps between previews, 0 for never."""

    prompts: tuple[str, ...] = ()
    negative: str = ""
    every: int = 250
    width: int = 1024
    height: int = 1024
    steps: int = 20
    cfg: float = 6.0
    sampler: str = "euler"
    scheduler: str = "normal"
    seed: int = 1

    def __post_init__(self) -> None:
        problems = []
        if self.every < 0:
            problems.append(f"every is {self.every}; 0 turns previews off")
        if self.width % 8 or self.height % 8 or min(self.width, self.height) < 16:
            problems.append(
                f"size is {self.width} x {self.height}; use multiples of 8, 16 at least"
            )
        if self.steps < 1:
            problems.append(f"steps is {self.steps}; it must be 1 or more")
        if self.sampler not in samplers():
            problems.append(f"this ComfyUI has no sampler called {self.sampler!r}")
        if self.scheduler not in schedulers():
            problems.append(f"this ComfyUI has no scheduler called {self.scheduler!r}")
        if problems:
            raise ValueError("Preview settings: " + "; ".join(problems) + ".")

    @property
    def wanted(self) -> bool:
        return bool(self.prompts) and self.every > 0


class Previewer:
    """Encodes its prompts once, then samples them whenever asked. Call in inference mode."""

    def __init__(self, patcher: Any, clip: Any, vae: Any, settings: PreviewSettings) -> None:
        self._patcher, self._vae, self._settings = patcher, vae, settings
        self._negative = conditioning(clip, settings.negative)
        self._positive = [conditioning(clip, prompt) for prompt in settings.prompts]

    def sample(self) -> Tensor:
        """One picture per prompt, IMAGE [N, H, W, 3]."""
        latents = torch.cat([self._latents(positive) for positive in self._positive])
        return self._vae.decode(latents).float().cpu()

    def _latents(self, positive: Any) -> Tensor:
        s = self._settings
        empty = torch.zeros((1, 4, s.height // 8, s.width // 8))
        noise = comfy.sample.prepare_noise(empty, s.seed)
        return comfy.sample.sample(
            self._patcher,
            noise,
            s.steps,
            s.cfg,
            s.sampler,
            s.scheduler,
            positive,
            self._negative,
            empty,
            disable_pbar=True,
            seed=s.seed,
        )
