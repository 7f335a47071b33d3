"""Making latents side by side, in one run: ours, ours at an earlier commit, a plain loop; and tags with latents.

`COMFYUI_PATH=... python bench/caching.py [--before COMMIT] [--json FILE]`. Rounds alternate between the
ways; medians and ratios are printed, wall clock and CPU time. Needs scikit-image and
onnx. The first table has a VAE of no cost, so it shows how fast a VAE can be fed; the second ComfyUI's
own with few channels, on small images; the third a tiny tagger and the VAE of no cost. `--work FOLDER`
keeps the images for the next run.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import types
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

SIDE = 2048
TAGGER = "wd-swinv2-tagger-v3"
SMALL = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32,
    "ch_mult": [1, 2, 4, 4], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip

Vae = Callable[[Tensor], Tensor]
"""float [N, H, W, 3] in 0..1 to latents [N, 4, H/8, W/8]."""

Module = Callable[[str], Any]
"""Gives a module of the trainer, of now or of an earlier commit, by name."""


def main() -> None:
    """Run all comparisons, print their tables, and write the figures if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--small-pictures", type=int, default=12, help="for the VAE that computes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", help="a commit whose trainer/ is measured as well")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, torch.inference_mode():
        figures = _run(options, Path(work))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _run(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    from finding import import_comfyui

    (work / "models").mkdir()
    import_comfyui(work)
    from ..demo import tiny_tagger
    from .data import photographs
    from .tagging import timed

    tiny_tagger.write(work / "models" / "wd14_tagger" / TAGGER)
    before = _earlier(options.before, work) if options.before else None
    kept = options.work or work
    many = photographs.write(kept / f"many_{options.pictures}", options.pictures, SIDE)
    few = photographs.write(kept / f"few_{options.small_pictures}", options.small_pictures, 512)
    free = _Making(many[0].parent, work, 1024, before)
    small = _Making(few[0].parent, work, 256, before)
    rounds = options.rounds
    return {
        "VAE of no cost, 1024": timed(free.ways(no_vae), rounds, len(many)),
        "small VAE, 256": timed(small.ways(_small_vae()), rounds, len(few)),
        "tags and latents": timed(_with_tags(many[0].parent, work), rounds, len(many)),
    }


def no_vae(pixels: Tensor) -> Tensor:
    """One pixel of each eight by eight."""
    picked = pixels[:, ::8, ::8].movedim(-1, 1)
    return torch.cat([picked, picked[:, :1]], 1)


def _small_vae() -> Vae:
    """ComfyUI's VAE with the layers of SDXL's and few channels, random weights."""
    import comfy.sd
    from comfy.ldm.models.autoencoder import AutoencoderKL

    parameters = {"ddconfig": SMALL, "embed_dim": 4}
    torch.manual_seed(0)
    model = AutoencoderKL(**parameters)
    for value in model.parameters():
        torch.nn.init.normal_(value, 0.0 if value.ndim > 1 else 1.0, 0.02)
    return comfy.sd.VAE(sd=model.state_dict(), config={"params": parameters}).encode


def _earlier(commit: str, work: Path) -> Module:
    """Imports a module of the pack's trainer as it was at a commit."""
    from finding import ROOT

    folders = subprocess.run(
        ["git", "ls-tree", "--name-only", commit, "trainer", "base"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout.split()  # fmt: skip
    command = ["git", "archive", commit, *folders]
    archive = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(work / "before", filter="data")
    package = types.ModuleType("before")
    package.__path__ = [str(work / "before")]
    sys.modules["before"] = package
    return partial(_module, "before")


HOMES = {
    "scan": "dataset.scan",
    "images": "dataset.images",
    "decoding": "cache.decoding",
    "buckets": "sdxl.buckets",
    "cache": "cache.latents",
    "store": "files.store",
}
"""Where the modules lie; before there were packages they were side by side under these names."""


def _module(package: str, name: str) -> Any:
    is_flat = (Path(import_module(package).__path__[0]) / "trainer" / f"{name}.py").exists()
    return import_module(f"{package}.trainer.{name if is_flat else HOMES[name]}")


_now = partial(_module, "pack")


class _Making:
    """The latents of one folder in several ways; each begins with an empty cache."""

    def __init__(self, folder: Path, work: Path, resolution: int, before: Module | None) -> None:
        self.folder, self.cache, self.resolution = folder, work / "cache", resolution
        self.before = before

    def ways(self, vae: Vae) -> dict[str, Callable[[], None]]:
        """The first is what the others are measured against."""

        def from_bytes(pixels: np.ndarray) -> Tensor:
            return vae(torch.from_numpy(pixels).float().div_(255))

        def from_floats(pixels: np.ndarray) -> Tensor:
            return vae(torch.from_numpy(pixels))

        found = {"a plain loop": partial(self.loop, vae, self._dataset(_now))}
        if self.before is not None:
            then = self._dataset(self.before)
            found["as it was"] = partial(self.cached, self.before, then, from_floats, 1)
        dataset = self._dataset(_now)
        for batch_size in (1, 4):
            for threads in (1, 2):
                name = f"ours, batch {batch_size}, {threads} thread(s)"
                found[name] = partial(self.cached, _now, dataset, from_bytes, batch_size, threads)
        return found

    def _dataset(self, module: Module) -> Any:
        return module("scan").scan_folder(self.folder)

    def cached(
        self, module: Module, dataset: Any, encode: Any, batch_size: int, threads: int = 0
    ) -> None:
        """`cache_latents`, of now or of an earlier commit."""
        if threads:
            module("decoding").MAX_THREADS = threads
        shutil.rmtree(self.cache, ignore_errors=True)
        buckets, latents = module("buckets"), module("cache")
        # The names before and after all of them were called *Config.
        make_buckets = getattr(buckets, "BucketConfig", None) or buckets.BucketSettings
        make_recipe = getattr(latents, "LatentConfig", None) or latents.LatentRecipe
        recipe = make_recipe(make_buckets().at(self.resolution), "bench")
        store = module("store").Store(self.cache)
        latents.cache_latents(dataset, recipe, encode, store, batch_size=batch_size)

    def loop(self, vae: Vae, dataset: Any) -> None:
        """One image after the other in one thread, an .npz for each."""
        shutil.rmtree(self.cache, ignore_errors=True)
        self.cache.mkdir()
        settings = _now("buckets").BucketConfig().at(self.resolution)
        images = _now("images")
        for _, sample in dataset.samples():
            placement = _now("buckets").assign(sample.size, settings)
            pixels = images.resize_and_crop(images.load_rgb(sample.path), placement)
            latents = vae(torch.from_numpy(pixels.astype(np.float32) / 255)[None])
            np.savez(self.cache / f"{sample.digest}.npz", latents=latents[0].float().numpy())


def _with_tags(folder: Path, work: Path) -> dict[str, Callable[[], None]]:
    """WD14 Tag and Cache Latents, without and with the VAE connected to both."""
    from ..nodes.host import folders
    from ..nodes.host.dataset import cache, tag
    from ..tagger import TagConfig, TaggerConfig
    from ..trainer.config.cache import CacheConfig
    from ..trainer.dataset.scan import scan_folder

    patcher = SimpleNamespace(
        model=torch.nn.Linear(1, 1), load_device=torch.device("cpu"),
        patches={}, backup={}, object_patches={},
    )  # fmt: skip
    vae: Any = SimpleNamespace(patcher=patcher, encode=no_vae)
    config, tagger = CacheConfig(), TaggerConfig(TAGGER, provider="cpu")
    dataset = scan_folder(folder)

    def run(connected: bool) -> None:
        shutil.rmtree(folders.cache_root(), ignore_errors=True)
        tagged = tag.tag_dataset(
            dataset, tagger, TagConfig(), "replace", vae=vae if connected else None, cache=config
        ).dataset
        cache.build_cache(tagged, vae, None, config)

    return {"two passes": partial(run, False), "one pass": partial(run, True)}


if __name__ == "__main__":
    main()
