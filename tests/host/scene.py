"""What the host tests are made of: images, a cached dataset, a request, a sample, a snapshot."""

import dataclasses
import random
from pathlib import Path
from types import SimpleNamespace

import comfy.sample
import numpy as np
import torch
from PIL import Image

from pack.nodes.host.model import clip as text
from pack.nodes.host.model import vae
from pack.nodes.host.training.request import Request
from pack.trainer.cache.latents import CachedDataset, LatentConfig, cache_latents
from pack.trainer.cache.texts import cache_texts
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.files.store import Store
from pack.trainer.sdxl.buckets import BucketConfig

BUCKETS = BucketConfig((64, 64), min_reso=32, max_reso=128, step=32)
RED = (220, 30, 30)


def write_pictures(folder: Path, colour=RED, count=4, sizes=((64, 64), (96, 64))) -> Path:
    """Images of one colour with a little texture, and captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        width, height = sizes[index % len(sizes)]
        noise = rng.normal(0, 12, (height, width, 3))
        pixels = np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"picture_{index}.png")
        (folder / f"picture_{index}.txt").write_text(f"thing, number {index}", "utf-8")
    return folder


def cache(tiny, folder: Path, store: Path, flip=False) -> CachedDataset:
    """Latents and captions of a folder in a store, with the tiny VAE and CLIP."""
    dataset = scan_folder(folder)
    with torch.inference_mode():
        recipe = LatentConfig(BUCKETS, vae.vae_fingerprint(tiny.vae), flip=flip)
        cached = cache_latents(
            dataset, recipe, lambda p: vae.encode_pixels(tiny.vae, p), Store(store)
        )
        fingerprint = text.clip_fingerprint(tiny.clip)
        cache_texts(
            (item.caption for item in cached.items),
            lambda caption: text.encode_caption(tiny.clip, caption),
            Store(store),
            fingerprint,
        )
    return dataclasses.replace(cached, text_fingerprint=fingerprint)


def config(steps=4, rank=4, learning_rate=1e-2, **settings) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        lora=LoraConfig(rank=rank, alpha=rank),
        optimiser=OptimiserConfig(learning_rate=learning_rate),
        **settings,
    )


def request(tiny, cached, recipe=None, **extra) -> Request:
    return Request(tiny.model, cached, recipe or config(), **extra)


def told(on_step):
    """A join of a training: a function that is told of every step, as its other followers are."""
    return lambda live: SimpleNamespace(on_step=on_step)


def sample(model, clip, seed=3, steps=3, prompt="thing") -> torch.Tensor:
    """Latents [1, 4, 8, 8] of ComfyUI's own sampler."""
    with torch.inference_mode():
        empty = torch.zeros((1, 4, 8, 8))
        noise = comfy.sample.prepare_noise(empty, seed)
        positive, negative = text.conditioning(clip, prompt), text.conditioning(clip, "")
        return comfy.sample.sample(
            model, noise, steps, 3.0, "euler", "normal", positive, negative, empty,
            disable_pbar=True, seed=seed,
        ).clone()  # fmt: skip


def snapshot(model) -> dict:
    """Everything about a MODEL and the process that training must leave as it was."""
    unet = model.model.diffusion_model
    return {
        "forwards": {n: m.__dict__.get("forward") for n, m in unet.named_modules()},
        "parameters": {n: id(p) for n, p in unet.named_parameters()},
        "grads": [n for n, p in unet.named_parameters() if p.grad is not None],
        "requires_grad": {n: p.requires_grad for n, p in unet.named_parameters()},
        "training": {n: m.training for n, m in unet.named_modules()},
        "grad_mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "flags": (
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.cuda.matmul.allow_tf32,
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_default_dtype(),
        ),
        "rng": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
    }
