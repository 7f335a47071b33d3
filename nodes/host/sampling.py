"""Previews: pictures sampled with the live adapters by ComfyUI's own sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ...trainer.prompts import parse_prompts
from .text import conditioning


def samplers() -> list[str]:
    """The samplers of this ComfyUI."""
    return list(comfy.samplers.KSampler.SAMPLERS)


def schedulers() -> list[str]:
    """The schedulers of this ComfyUI."""
    return list(comfy.samplers.KSampler.SCHEDULERS)


class Shot(NamedTuple):
    """One picture to sample."""

    text: str
    negative: str
    width: int
    height: int
    seed: int
    cfg: float
    steps: int
    sampler: str


@dataclass(frozen=True)
class PreviewSettings:
    """What to sample and when. prompts: lines of `trainer.prompts`, whose options go before the other
    settings; every: steps between previews, 0 for never; at_start: also before the first step."""

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
    at_start: bool = False

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
        for name in dict.fromkeys((self.sampler, *(shot.sampler for shot in self.shots()))):
            if name not in samplers():
                problems.append(f"this ComfyUI has no sampler called {name!r}")
        if self.scheduler not in schedulers():
            problems.append(f"this ComfyUI has no scheduler called {self.scheduler!r}")
        if problems:
            raise ValueError("Preview settings: " + "; ".join(problems) + ".")

    @property
    def wanted(self) -> bool:
        return bool(self.shots()) and self.every > 0

    def is_due(self, step: int) -> bool:
        """Whether pictures are wanted after so many steps."""
        return self.wanted and step % self.every == 0 and (step > 0 or self.at_start)

    def shots(self) -> tuple[Shot, ...]:
        """The pictures to sample, all settings filled in."""
        return tuple(
            Shot(
                prompt.text,
                self.negative if prompt.negative is None else prompt.negative,
                prompt.width or self.width,
                prompt.height or self.height,
                self.seed if prompt.seed is None else prompt.seed,
                self.cfg if prompt.cfg is None else prompt.cfg,
                prompt.steps or self.steps,
                prompt.sampler or self.sampler,
            )
            for prompt in parse_prompts("\n".join(self.prompts))
        )


class Previewer:
    """Encodes its prompts, then samples them whenever asked. Call in inference mode."""

    def __init__(self, patcher: Any, clip: Any, vae: Any, settings: PreviewSettings) -> None:
        self._patcher, self._vae, self._scheduler = patcher, vae, settings.scheduler
        self._shots = settings.shots()
        self.encode(clip)

    def encode(self, clip: Any) -> None:
        """Encode the prompts, again where the text encoders have learned meanwhile."""
        texts = {text for shot in self._shots for text in (shot.text, shot.negative)}
        self._encoded = {text: conditioning(clip, text) for text in sorted(texts)}

    def sample(self) -> list[Tensor]:
        """One picture per prompt, IMAGE [1, H, W, 3] each."""
        latents = [self._latents(shot) for shot in self._shots]
        return [self._vae.decode(latent).float().cpu() for latent in latents]

    def _latents(self, shot: Shot) -> Tensor:
        empty = torch.zeros((1, 4, shot.height // 8, shot.width // 8))
        noise = comfy.sample.prepare_noise(empty, shot.seed)
        return comfy.sample.sample(
            self._patcher,
            noise,
            shot.steps,
            shot.cfg,
            shot.sampler,
            self._scheduler,
            self._encoded[shot.text],
            self._encoded[shot.negative],
            empty,
            disable_pbar=True,
            seed=shot.seed,
        )
