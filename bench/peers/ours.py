"""This pack's own training, as the Train node starts it, on a cache of random numbers."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...trainer.cache import latents as cache
from ...trainer.cache import texts
from ...trainer.cache.latents import CachedDataset, CachedItem, LatentConfig
from ...trainer.config.lora import LoraConfig
from ...trainer.config.optimiser import OptimiserConfig
from ...trainer.config.speed import SpeedConfig
from ...trainer.config.train import TrainConfig
from ...trainer.dataset.dataset import Dataset
from ...trainer.files.store import Store
from ...trainer.sdxl.buckets import BucketConfig, assign, conditioning
from ...trainer.sdxl.constants import LATENT_PIXELS, VAE_SCALE
from ..data.scene import Scene
from .way import LEARNING_RATE, Watch

TEXTS = "text encoders"


class Ours:
    """Train with the settings of a TrainConfig. managed: ComfyUI's manager moves the weights.

    Without it they lie on the device and nobody moves them.
    """

    def __init__(
        self, scene: Scene, folder: Path, *, managed: bool = False, **settings: Any
    ) -> None:
        self._scene, self._folder, self._managed, self._settings = scene, folder, managed, settings
        with torch.inference_mode():
            self._patcher = scene.patcher(torch.device("cpu") if managed else scene.device)
        self._trained: list[Tensor] = []
        self.last_loss = math.nan
        """Of the latest run: the same for the same work, whatever the settings of speed."""

    def config(self, batch: int, steps: int) -> TrainConfig:
        """What the Train node would make of the settings."""
        settings: dict[str, Any] = self._settings | {
            "speed": SpeedConfig(**self._settings.get("speed", {}))
        }
        return TrainConfig(
            steps=steps,
            batch_size=batch,
            lora=LoraConfig(rank=self._scene.rank, alpha=self._scene.alpha),
            optimiser=OptimiserConfig(learning_rate=LEARNING_RATE),
            **settings,
        )

    def run(self, batch: int, steps: int, watch: Watch) -> None:
        from ...nodes.host.training import train
        from ...nodes.host.training.request import Request

        def join(live: Any) -> _Watched:
            self._trained = live.network.parameters()
            return _Watched(watch)

        shutil.rmtree(self._folder, ignore_errors=True)  # a run that was done is not done again
        cached = synthetic_cache(self._scene, self._folder / "cache", max(batch, 2))
        config = self.config(batch, steps)
        request = Request(self._patcher, cached, config, managed=self._managed)
        with torch.inference_mode(), _output_below(self._folder):
            result, _ = train.train_lora(request, join)
        self.last_loss = result.losses[-1]

    def weights(self) -> Iterable[Tensor]:
        return [*self._patcher.model.parameters(), *self._trained]


class _Watched:
    """A follower of a training that tells a watch."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_step(self, event: Any) -> None:
        """Told after every step."""
        self._watch.step()


@contextmanager
def _output_below(folder: Path) -> Iterator[None]:
    """ComfyUI's output directory lies in this folder."""
    import folder_paths

    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(folder / "output"))
    try:
        yield
    finally:
        folder_paths.set_output_directory(before)


def synthetic_cache(scene: Scene, root: Path, count: int) -> CachedDataset:
    """What Cache Latents would leave of so many square images and captions; the numbers are random."""
    store, pixels = Store(root), scene.side * LATENT_PIXELS
    buckets = BucketConfig((pixels, pixels), min_reso=pixels, max_reso=pixels, step=64)
    size = conditioning(assign((pixels, pixels), buckets), (pixels, pixels), False, False)
    items = []
    rows = zip(scene.latents(count), scene.context(count), scene.pooled(count), strict=True)
    for number, (latents, context, pooled) in enumerate(rows):
        store.save(cache.KIND, f"latent {number}", {"latents": latents / VAE_SCALE})
        key = texts.text_key(TEXTS, f"thing {number}")
        store.save(texts.KIND, key, {"context": context, "pooled": pooled})
        item = CachedItem(
            digest=f"digest {number}",
            name=f"image {number}",
            caption=f"thing {number}",
            bucket=(pixels, pixels),
            conditioning=size,
            flipped_conditioning=size,
            latent_key=f"latent {number}",
            flipped_key=None,
            repeats=1,
            weight=1.0,
            is_reg=False,
            subset="set",
        )
        items.append(item)
    return CachedDataset(tuple(items), store.root, LatentConfig(buckets, "vae"), Dataset(()), TEXTS)
