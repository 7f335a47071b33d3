"""Previews: images sampled with the live adapters by ComfyUI's own sampler."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ....base.config import Config, Problems
from ....trainer.kohya.prompt_lines import parse_prompts
from ....trainer.sdxl.constants import LATENT_CHANNELS, LATENT_PIXELS
from ..model.clip import conditioning
from ..model.host_types import Clip, Conditioning, ModelPatcher, Vae


def samplers() -> list[str]:
    """The samplers of this ComfyUI."""
    return list(comfy.samplers.KSampler.SAMPLERS)


def schedulers() -> list[str]:
    """The schedulers of this ComfyUI."""
    return list(comfy.samplers.KSampler.SCHEDULERS)


class Shot(NamedTuple):
    """One image to sample."""

    text: str
    negative: str
    width: int
    height: int
    seed: int
    cfg: float
    steps: int
    sampler: str


@dataclass(frozen=True)
class PreviewConfig(Config):
    """What to sample and when."""

    title = "Preview settings"

    prompts: tuple[str, ...] = ()
    """Each of these lines (see `trainer.kohya.prompt_lines`) gives a preview; its options override the
    other settings."""
    negative: str = ""
    """The previews have this negative prompt."""
    every: int = 250
    """Previews are made every so many optimiser steps; 0 for never."""
    width: int = 1024
    """The previews are so many pixels wide, a multiple of 8 and at least 16."""
    height: int = 1024
    """The previews are so many pixels high, a multiple of 8 and at least 16."""
    steps: int = 20
    """A preview takes so many sampling steps, 1 or more."""
    cfg: float = 6.0
    """Classifier-free guidance has this scale."""
    sampler: str = "euler"
    """The previews are made by this sampler of ComfyUI's."""
    scheduler: str = "normal"
    """The noise levels are those of this scheduler of ComfyUI's."""
    seed: int = 1
    """This number fixes the noise of each preview, the same every time."""
    at_start: bool = False
    """Previews are made before the first step as well."""
    every_epochs: int = 0
    """Previews are made every so many epochs; above 0 this overrides ``every``."""
    strengths: tuple[float, ...] = (1.0,)
    """Each prompt is sampled once with the LoRA at each of these strengths, -10 to 10."""

    def check(self, problems: Problems) -> None:
        problems.need(self.every >= 0, f"every is {self.every}; 0 turns previews off")
        problems.need(
            self.every_epochs >= 0, f"every_epochs is {self.every_epochs}; 0 lets every count"
        )
        problems.need(
            bool(self.strengths) and all(-10 <= strength <= 10 for strength in self.strengths),
            f"strengths are {self.strengths}; give one or more between -10 and 10",
        )
        problems.need(
            not (self.width % 8 or self.height % 8) and min(self.width, self.height) >= 16,
            f"size is {self.width} x {self.height}; use multiples of 8, 16 at least",
        )
        problems.need(self.steps >= 1, f"steps is {self.steps}; it must be 1 or more")
        for name in dict.fromkeys((self.sampler, *(shot.sampler for shot in self.shots()))):
            problems.need(name in samplers(), f"this ComfyUI has no sampler called {name!r}")
        problems.need(
            self.scheduler in schedulers(),
            f"this ComfyUI has no scheduler called {self.scheduler!r}",
        )

    @property
    def wanted(self) -> bool:
        return bool(self.shots()) and (self.every > 0 or self.every_epochs > 0)

    def is_due(self, step: int, epoch: int = 0) -> bool:
        """Whether images are wanted after so many steps; epoch: the one that ended with them, or 0."""
        if not self.wanted or step == 0:
            return self.wanted and self.at_start
        if self.every_epochs:
            return epoch > 0 and epoch % self.every_epochs == 0
        return step % self.every == 0

    def shots(self) -> tuple[Shot, ...]:
        """The images to sample, all settings filled in."""
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


def parse_strengths(text: str) -> tuple[float, ...]:
    """The numbers of a text such as ``0, 0.4, 0.8``, each once; 1 when there is none.

    Raises:
        ValueError: it holds something else.
    """
    try:
        found = [float(word) for word in re.split(r"[\s,;]+", text) if word]
    except ValueError as error:
        raise ValueError(
            f"Preview settings: strengths is {text!r}; give numbers such as 0, 0.4, 0.6, 0.8, 1"
        ) from error
    return tuple(dict.fromkeys(found)) or (1.0,)


class Previewer:
    """Encodes its prompts once, then samples them whenever asked. Call in inference mode.

    learns: the text encoders are trained, so prompts are encoded whenever they are sampled.
    """

    def __init__(
        self,
        patcher: ModelPatcher,
        clip: Clip,
        vae: Vae,
        settings: PreviewConfig,
        learns: bool = False,
    ) -> None:
        self._patcher, self._vae, self._scheduler = patcher, vae, settings.scheduler
        self.settings = settings
        self._shots = settings.shots()
        self._clip, self._learns = clip, learns
        self._encoded = {} if learns else self._encode()
        self.strengths = settings.strengths
        self._without: dict[tuple[int, float], Tensor] = {}
        """The images of strength 0, which are always the same."""

    def sample(
        self, at_strength: Callable[[float], AbstractContextManager[None]] = nullcontext
    ) -> list[Tensor]:
        """IMAGEs [1, H, W, 3]: of each prompt one per strength. ``at_strength`` sets the live adapters'."""
        wanted = [(number, s) for number in range(len(self._shots)) for s in self.strengths]
        latents = {}
        for strength in self.strengths:
            missing = [key for key in wanted if key[1] == strength and key not in self._without]
            with at_strength(strength):
                if self._learns and missing:
                    self._encoded = self._encode()
                for number, _ in missing:
                    latents[number, strength] = self._latents(self._shots[number])
        pictures = {key: self._vae.decode(value).float().cpu() for key, value in latents.items()}
        self._without |= {key: value for key, value in pictures.items() if key[1] == 0}
        return [(self._without | pictures)[key] for key in wanted]

    def _encode(self) -> dict[str, Conditioning]:
        """The conditioning of all prompts, by text."""
        texts = {text for shot in self._shots for text in (shot.text, shot.negative)}
        return {text: conditioning(self._clip, text) for text in sorted(texts)}

    def _latents(self, shot: Shot) -> Tensor:
        height, width = shot.height // LATENT_PIXELS, shot.width // LATENT_PIXELS
        empty = torch.zeros((1, LATENT_CHANNELS, height, width))
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
