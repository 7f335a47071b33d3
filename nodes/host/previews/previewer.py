"""Previews: images sampled with the live adapters by ComfyUI's own sampler."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from comfy.cli_args import args
from torch import Tensor

from ....base.config import Config, Problems
from ....trainer.kohya.prompt_lines import parse_prompts
from ..model.clip import conditioning
from ..model.host_types import Clip, Conditioning, ModelPatcher, Vae
from ..progress import check_interrupt
from .sampling import Shot, check_sampled, check_sampler, decoded, sampled

MAX_IMAGES, MAX_PIXELS = 500, 1 << 27
"""Of all previews of one step, which are in memory together."""


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
    """The previews are so many pixels wide, a multiple of 8 from 16 to 4096."""
    height: int = 1024
    """The previews are so many pixels high, a multiple of 8 from 16 to 4096."""
    steps: int = 20
    """A preview takes so many sampling steps, 1 to 1000."""
    cfg: float = 6.0
    """Classifier-free guidance has this scale, 0 to 100."""
    sampler: str = "euler"
    """The previews are made by this sampler of ComfyUI's."""
    scheduler: str = "normal"
    """The noise levels are those of this scheduler of ComfyUI's."""
    seed: int = 1
    """This number, from 0 to 2^64-1, fixes the noise of each preview, the same every time."""
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
        check_sampled(self, problems)
        self._check_shots(problems)

    def _check_shots(self, problems: Problems) -> None:
        """What is wrong with the lines of prompts, and with all images together."""
        try:
            shots = self.shots()
        except ValueError as error:
            problems.append(str(error))
            return
        for name in dict.fromkeys((self.sampler, *(shot.sampler for shot in shots))):
            check_sampler(name, problems)
        images = len(shots) * len(self.strengths)
        pixels = sum(shot.width * shot.height for shot in shots) * len(self.strengths)
        problems.need(
            images <= MAX_IMAGES and pixels <= MAX_PIXELS,
            f"{len(shots)} prompts at {len(self.strengths)} strengths are {images} images of "
            f"{pixels / 2**20:.0f} megapixels in all; allowed: {MAX_IMAGES} images and "
            f"{MAX_PIXELS >> 20} megapixels",
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
        made_by = [{**shot._asdict(), "scheduler": settings.scheduler} for shot in self._shots]
        self.made_by = [] if args.disable_metadata else made_by
        """Of each prompt what its images are sampled from, to be written into them."""
        self._without: dict[tuple[int, float], Tensor] = {}
        """The images of strength 0, which are always the same."""

    def sample(
        self, at_strength: Callable[[float], AbstractContextManager[None]] = nullcontext
    ) -> list[Tensor]:
        """IMAGEs [1, H, W, 3]: of each prompt one per strength. ``at_strength`` sets the live adapters'.

        An interrupt is raised within a step of the sampler or a decoding.
        """
        wanted = [(number, s) for number in range(len(self._shots)) for s in self.strengths]
        latents = {}
        for strength in self.strengths:
            missing = [key for key in wanted if key[1] == strength and key not in self._without]
            with at_strength(strength):
                if self._learns and missing:
                    self._encoded = self._encode()
                for number, _ in missing:
                    latents[number, strength] = self._latents(self._shots[number])
        pictures = {key: self.decoded(value) for key, value in latents.items()}
        self._without |= {key: value for key, value in pictures.items() if key[1] == 0}
        return [(self._without | pictures)[key] for key in wanted]

    def latents(self) -> list[Tensor]:
        """Of each prompt, at full strength, not decoded yet. An interrupt is raised within a step."""
        return [self._latents(shot) for shot in self._shots]

    def decoded(self, latents: Tensor) -> Tensor:
        """Latents as an IMAGE [1, H, W, 3], float32 on the CPU."""
        return decoded(self._vae, latents)

    def _encode(self) -> dict[str, Conditioning]:
        """The conditioning of all prompts, by text."""
        texts = {text for shot in self._shots for text in (shot.text, shot.negative)}
        encoded = {}
        for text in sorted(texts):
            check_interrupt()
            encoded[text] = conditioning(self._clip, text)
        return encoded

    def _latents(self, shot: Shot) -> Tensor:
        positive, negative = self._encoded[shot.text], self._encoded[shot.negative]
        return sampled(self._patcher, shot, self._scheduler, positive, negative)
