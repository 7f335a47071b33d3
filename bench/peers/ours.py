"""This pack's own training, as the Train node starts it, on a cache of random numbers."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from ...trainer.batches.training_data import VAE_SCALE
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
        from ...nodes.host import folders
        from ...nodes.host.model import memory
        from ...nodes.host.training import train
        from ...nodes.host.training.live_training import LiveTraining
        from ...nodes.host.training.request import Request

        shutil.rmtree(self._folder, ignore_errors=True)  # a run that was done is not done again
        cached = synthetic_cache(self._scene, self._folder / "cache", max(batch, 2))
        request = Request(self._patcher, cached, self.config(batch, steps))
        on_step = LiveTraining.on_step

        def watched(live: Any, event: Any) -> str | None:
            self._trained = live._network.parameters()
            try:
                return on_step(live, event)
            finally:
                watch.step()

        with ExitStack() as stack:
            patch = mock.patch.object
            stack.enter_context(patch(LiveTraining, "on_step", watched))
            stack.enter_context(patch(folders, "output_root", lambda: self._folder / "output"))
            if not self._managed:
                stack.enter_context(patch(memory, "make_room"))
            stack.enter_context(torch.inference_mode())
            result, _ = train.train_lora(request)
        self.last_loss = result.losses[-1]

    def weights(self) -> Iterable[Tensor]:
        return [*self._patcher.model.parameters(), *self._trained]


def synthetic_cache(scene: Scene, root: Path, count: int) -> CachedDataset:
    """What Cache Latents would leave of so many square pictures and captions; the numbers are random."""
    store, pixels = Store(root), scene.side * 8
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
            name=f"picture {number}",
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
