"""One image sampled by ComfyUI's own sampler, and what may be asked of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ....base.config import Problems
from ....trainer.kohya.prompt_lines import MAX_LETTERS, MAX_SCALE, MAX_SEED, MAX_SIDE, MAX_STEPS
from ....trainer.sdxl.constants import LATENT_CHANNELS, LATENT_PIXELS
from ..model.host_types import Clip, Conditioning, ModelPatcher, Vae
from ..progress import check_interrupt


def samplers() -> list[str]:
    """The samplers of this ComfyUI."""
    return list(comfy.samplers.KSampler.SAMPLERS)


def schedulers() -> list[str]:
    """The schedulers of this ComfyUI."""
    return list(comfy.samplers.KSampler.SCHEDULERS)


class Models(NamedTuple):
    """What samples."""

    model: ModelPatcher
    clip: Clip
    vae: Vae


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


class Sampled(Protocol):
    """A config of images to sample."""

    @property
    def negative(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def cfg(self) -> float: ...
    @property
    def scheduler(self) -> str: ...
    @property
    def seed(self) -> int: ...


def check_sampled(it: Sampled, problems: Problems) -> None:
    """Add what is wrong with the numbers, the negative prompt and the scheduler."""
    problems.need(
        not (it.width % 8 or it.height % 8)
        and min(it.width, it.height) >= 16
        and max(it.width, it.height) <= MAX_SIDE,
        f"size is {it.width} x {it.height}; use multiples of 8, from 16 to {MAX_SIDE}",
    )
    for name, least, most in (
        ("steps", 1, MAX_STEPS),
        ("cfg", 0, MAX_SCALE),
        ("seed", 0, MAX_SEED),
    ):
        value = getattr(it, name)
        problems.need(least <= value <= most, f"{name} is {value}; allowed: {least} to {most:g}")
    problems.need(
        len(it.negative) <= MAX_LETTERS,
        f"negative has {len(it.negative)} characters, allowed: {MAX_LETTERS}",
    )
    problems.need(
        it.scheduler in schedulers(), f"this ComfyUI has no scheduler called {it.scheduler!r}"
    )


def check_sampler(name: str, problems: Problems) -> None:
    """Add that there is no sampler of this name."""
    problems.need(name in samplers(), f"this ComfyUI has no sampler called {name!r}")


def sampled(
    patcher: ModelPatcher,
    shot: Shot,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
) -> Tensor:
    """The latents of an image, not decoded yet. An interrupt is raised within a step. Call in inference mode."""
    check_interrupt()
    height, width = shot.height // LATENT_PIXELS, shot.width // LATENT_PIXELS
    empty = torch.zeros((1, LATENT_CHANNELS, height, width))
    noise = comfy.sample.prepare_noise(empty, shot.seed)
    return comfy.sample.sample(
        patcher,
        noise,
        shot.steps,
        shot.cfg,
        shot.sampler,
        scheduler,
        positive,
        negative,
        empty,
        callback=lambda *_: check_interrupt(),
        disable_pbar=True,
        seed=shot.seed,
    )


def decoded(vae: Vae, latents: Tensor) -> Tensor:
    """Latents as an IMAGE [1, H, W, 3], float32 on the CPU."""
    check_interrupt()
    return vae.decode(latents).float().cpu()
