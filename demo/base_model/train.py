"""Train the base model: `python -m demo.base_model.train FOLDER --comfyui DIR --minutes 95`.

The folder gets `unet.safetensors` (the mean of the last weights, rewritten every few minutes), a
sheet of samples for each, and `train.log`.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import network, scenes

SEED = 15
SCENES, BATCH, GAMMA = 20_000, 16, 5.0
PARTS = 2  # of a batch, each on a core of its own
RATE, LAST, WARM_UP = 1.2e-3, 0.01, 100  # learning rate, its share at the end, steps
DECAY = 0.999  # of the running mean of the weights
WATCHED = (
    "red mushroom, meadow", "blue house, snow", "green tree, desert", "yellow fish, sea",
    "purple star, night", "orange heart, sunset", "red cat, meadow, left", "blue flower, snow",
    "orange boat, sea", "green ghost, night, right", "red apple, meadow", "yellow car, desert",
    "blue bird, sunset", "red crab, sea, left", "purple rocket, night", "green gem, snow, right",
    "green cactus, desert", "purple cup, sunset", "yellow crown, meadow", "blue umbrella, snow",
    "house, meadow", "snow", "zorp, meadow", "zorp, sunset, right", "zorp, sea", "blick, desert",
    "red mushroom, masterpiece, night", "",
)  # fmt: skip


class Data(NamedTuple):
    """What is trained on: latents `[N, 4, 16, 16]`, captions, and each picture's caption."""

    latents: Tensor
    words: Tensor
    caption: Tensor


def main() -> None:
    """Train for the minutes asked for."""
    options = _parse()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    clip = _host(options.comfyui)
    data, watched = _data(clip), _words(clip, WATCHED)
    unet = network.new_unet(SEED)
    if options.go_on:
        unet.load_state_dict({**unet.state_dict(), **_weights(options.go_on)})
    mean = copy.deepcopy(unet).requires_grad_(False)
    said = (options.folder / "train.log").open("a", encoding="utf-8")
    marks = [at / options.minutes for at in range(2, math.ceil(options.minutes), 4)]
    limit = 60 * options.minutes
    for step, progress, seconds, loss in steps(unet, mean, data, limit, options.rate):
        if step % 100 == 0:
            said.write(f"step {step} seconds {seconds:.0f} loss {loss:.5f}\n")
            said.flush()
        if progress >= 1 or (marks and progress > marks[0]):
            del marks[:1]
            _look(mean, watched, options.folder, step)


def steps(
    unet: Any, mean: Any, data: Data, limit: float, rate: float
) -> Iterator[tuple[int, float, float, float]]:
    """Train; after each step its number, progress 0..1, seconds and the loss of the last 100.

    The learning rate falls from `rate` along a cosine over the `limit` in seconds.
    """
    trained = [weight for weight in unet.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, rate, betas=(0.9, 0.99), weight_decay=0.01)
    share, losses = network.signal(), [0.0] * 100
    start, step, progress = time.monotonic(), 0, 0.0
    with ThreadPoolExecutor(PARTS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while progress < 1:
            cosine = LAST + (1 - LAST) * (0.5 + 0.5 * math.cos(math.pi * progress))
            for group in optimiser.param_groups:
                group["lr"] = rate * cosine * min(1, (step + 1) / WARM_UP)
            parts = [_part(data, share) for _ in range(PARTS)]
            done = list(pool.map(lambda part: _gradients(unet, trained, part), parts))
            for weight, *gradients in zip(trained, *(part[1] for part in done), strict=True):
                weight.grad = sum(gradients) / PARTS
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            losses[step % 100] = sum(loss for loss, _ in done) / PARTS
            step += 1
            with torch.no_grad():
                keep = min(DECAY, (1 + step) / (10 + step))
                for average, weight in zip(mean.parameters(), unet.parameters(), strict=True):
                    average.lerp_(weight, 1 - keep)
            seconds = time.monotonic() - start
            progress = seconds / limit
            yield step, progress, seconds, sum(losses) / min(step, 100)


class Part(NamedTuple):
    """A thread's part of a batch, its timesteps spread evenly, and the weight of each."""

    noisy: Tensor
    noise: Tensor
    times: Tensor
    words: Tensor
    weight: Tensor


def _part(data: Data, share: Tensor) -> Part:
    count = BATCH // PARTS
    pick = torch.randint(0, len(data.latents), (count,))
    times = ((torch.arange(count) + torch.rand(count)) * (1000 / count)).long().clamp(0, 999)
    noise = torch.randn(count, 4, scenes.SIZE, scenes.SIZE)
    signal = share[times].view(-1, 1, 1, 1)
    noisy = signal.sqrt() * data.latents[pick] + (1 - signal).sqrt() * noise
    snr = share[times] / (1 - share[times])
    return Part(noisy, noise, times, data.words[data.caption[pick]], snr.clamp(max=GAMMA) / snr)


def _gradients(unet: Any, trained: list[Tensor], part: Part) -> tuple[float, Sequence[Tensor]]:
    """The min-SNR-weighted error of the predicted noise, and the weights' gradients."""
    guess = network.predict(unet, part.noisy, part.times, part.words)
    loss = ((guess - part.noise).square().mean((1, 2, 3)) * part.weight).mean()
    return float(loss.detach()), torch.autograd.grad(loss, trained)


def _data(clip: Any) -> Data:
    made = [scenes.scene(seed) for seed in range(SCENES)]
    captions = [", ".join(scene.tags) for scene in made]
    place = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    latents = network.to_latents(np.stack([scene.picture for scene in made]))
    index = torch.tensor([place[caption] for caption in captions])
    return Data(latents, _words(clip, list(place)), index)


def _words(clip: Any, texts: Sequence[str]) -> Tensor:
    """Captions as the network takes them, `[N, 77, 48]`."""
    from comfy import sdxl_clip

    tokenizer: Any = sdxl_clip.SDXLTokenizer()
    found = []
    with torch.no_grad():
        for start in range(0, len(texts), 64):
            tokens = [tokenizer.tokenize_with_weights(text) for text in texts[start : start + 64]]
            together = {key: [row[key][0] for row in tokens] for key in ("l", "g")}
            found.append(clip.encode_token_weights(together)[0].view(len(tokens), 77, -1))
    return torch.cat(found)


def _look(mean: Any, watched: Tensor, folder: Path, step: int) -> None:
    from safetensors.torch import save_file

    tensors = {key: value.half() for key, value in mean.state_dict().items()}
    tensors = {key: value for key, value in tensors.items() if not key.startswith("label_emb")}
    for name in ("unet.safetensors", f"unet_{step:06}.safetensors"):
        unfinished = folder / "unfinished.tmp"
        save_file(tensors, str(unfinished))
        unfinished.replace(folder / name)
    latents = network.draw(mean, watched, watched[-1:])
    sheet = scenes.sheet([*network.to_pictures(latents)], 14)
    Image.fromarray(sheet).save(folder / f"samples_{step:06}.png")


def _weights(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {key: value.float() for key, value in load_file(str(path)).items()}


def _host(comfyui: Path) -> Any:
    """ComfyUI on the CPU, and our text encoders of its classes."""
    sys.path.insert(0, str(comfyui.resolve()))
    importlib.import_module(
        "comfy.options"
    )  # before the arguments: it keeps them from being parsed
    from comfy.cli_args import args

    args.cpu = True
    from .. import tiny_sdxl

    return network.new_clip(tiny_sdxl.clip_class())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.base_model.train", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=95)
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate")
    parser.add_argument("--go-on", type=Path, metavar="FILE", help="weights to begin with")
    return parser.parse_args()


if __name__ == "__main__":
    main()
