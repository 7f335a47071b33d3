"""Replays recorded loss settings: per-sample losses, Huber constants, noisy latents, schedules."""

from __future__ import annotations

import json
import random
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..trainer.kohya.config import KohyaConfig
from ..trainer.sdxl.schedule import Schedule
from ..trainer.sdxl.size_embedding import sinusoid
from ..trainer.training.loss import huber_threshold, per_sample
from ..trainer.training.noise import multires_noise, offset_noise
from .case import Case, Unsupported, largest
from .kohya_arguments import from_words, import_part

BOUND = 1e-5
FUNCTION_SEED = 123
ADAPTIVE_OFFSET, ADAPTIVE_SCALE = 0.05, 0.1  # what noise_offset_adaptive was recorded with


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """One case per recorded setting, then the schedules and noise functions."""
    recorded = json.loads((folder / "losses.json").read_text("utf-8"))["results"]
    tensors = load_file(folder / "losses.safetensors")
    for line, result in recorded.items():
        try:
            yield Case(f"losses/{line}", _error(line, result, tensors), BOUND)
        except Unsupported as missing:
            yield missing
    yield from _schedules(tensors)
    yield from _functions(tensors)


def parse(line: str) -> KohyaConfig:
    """What the importer makes of a recorded command line; in brackets stands what none was given for."""
    words = [] if line.startswith("(") else shlex.split(line)
    return import_part(from_words(words), "losses")


def _error(line: str, result: dict[str, Any], tensors: dict[str, Tensor]) -> float:
    imported = parse(line)
    schedule, config = schedule_of(imported), imported.train.loss
    latents, noise, timesteps = (tensors[n] for n in ("latents", "noise", "timesteps"))
    target = schedule.target(latents, noise, timesteps)
    losses = per_sample(
        tensors["model_pred"],
        target,
        timesteps,
        schedule,
        config,
        weights=tensors["loss_weights"],
        mask=tensors["alpha_mask"] if config.masked else None,
    )
    expected = torch.tensor(result["per_sample"])
    noisy = schedule.noisy(latents, noise, timesteps)
    errors = [
        ((losses - expected).abs() / expected.abs().clamp(min=1.0)).max(),
        abs(noisy.mean() - result["noisy_mean"]),
        abs(target.mean() - result["target_mean"]),
    ]
    if result["huber_c"] is not None:
        recorded = torch.tensor(result["huber_c"]).flatten()
        errors.append((huber_threshold(timesteps, schedule, config) - recorded).abs().max())
    return largest(errors)


def schedule_of(config: KohyaConfig) -> Schedule:
    """The noise schedule of a config of kohya's."""
    fixed = config.train.loss.zero_terminal_snr == "on"
    return Schedule.sdxl("v" if config.files.predicts_v else "epsilon", zero_terminal_snr=fixed)


def _schedules(tensors: dict[str, Tensor]) -> Iterator[Case]:
    for name, fixed in (("normal", False), ("ztsnr", True)):
        schedule = Schedule.sdxl(zero_terminal_snr=fixed)
        alphas = (schedule.alphas_cumprod - tensors[f"{name}.alphas_cumprod"]).abs().max()
        yield Case(f"losses/{name} alphas_cumprod", float(alphas), 1e-6)
        recorded = tensors[f"{name}.all_snr"]
        snr = ((schedule.snr - recorded).abs() / recorded).max()
        yield Case(f"losses/{name} snr (relative)", float(snr), BOUND)


def _functions(tensors: dict[str, Tensor]) -> Iterator[Case | Unsupported]:
    for name in sorted(key for key in tensors if key.startswith("fn.")):
        made = _made_noise(name.removeprefix("fn."), tensors["noise"], tensors["latents"])
        if made is None:
            yield Unsupported(f"losses: {name.removeprefix('fn.')}")
        else:
            yield Case(f"losses/{name}", float((made - tensors[name]).abs().max()), BOUND)
    if "size_embeddings.in" in tensors:
        yield _size_embedding(tensors["size_embeddings.in"], tensors["size_embeddings.out"])


def _made_noise(name: str, noise: Tensor, latents: Tensor) -> Tensor | None:
    """The noise that a recorded function makes of plain noise, drawn in kohya's order; None if unknown."""
    rng = torch.Generator().manual_seed(FUNCTION_SEED)
    uniform = random.Random(FUNCTION_SEED).random

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=rng)

    offset = re.fullmatch(r"noise_offset_([\d.]+)", name)
    pyramid = re.fullmatch(r"pyramid_(\d+)_([\d.]+)", name)
    if offset:
        return offset_noise(noise, float(offset[1]), normal((*noise.shape[:2], 1, 1)))
    if name == "noise_offset_adaptive":
        return offset_noise(
            noise, ADAPTIVE_OFFSET, normal((*noise.shape[:2], 1, 1)), latents, ADAPTIVE_SCALE
        )
    if pyramid:
        return multires_noise(noise, int(pyramid[1]), float(pyramid[2]), uniform, normal)
    return None


def _size_embedding(sizes: Tensor, expected: Tensor) -> Case:
    crop = torch.tensor([[3, 7]]).expand_as(sizes)
    ours = sinusoid(torch.cat([sizes, crop, sizes], dim=1)).flatten(1)
    return Case("losses/size_embeddings", float((ours - expected).abs().max()), BOUND)
