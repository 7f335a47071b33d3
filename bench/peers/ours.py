"""This pack's own training, as the Train node starts it, on a cache of random numbers."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator
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
from ...trainer.device.ranks import ALONE, Ranks
from ...trainer.files.store import Store
from ...trainer.sdxl.buckets import BucketConfig, assign, conditioning
from ...trainer.sdxl.constants import LATENT_PIXELS, VAE_SCALE
from ..data.scene import Scene
from .way import LEARNING_RATE, Watch

TEXTS = "text encoders"


class Ours:
    """Train with the settings of a TrainConfig. managed: ComfyUI's manager moves the weights.

    Without it they lie on the device and nobody moves them. ranks: who trains together, this being rank 0.
    """

    def __init__(
        self,
        scene: Scene,
        folder: Path,
        *,
        managed: bool = False,
        ranks: Ranks = ALONE,
        **settings: Any,
    ) -> None:
        self._ranks = ranks
        self._scene, self._folder, self._managed, self._settings = scene, folder, managed, settings
        with torch.inference_mode():
            self.patcher = scene.patcher(torch.device("cpu") if managed else scene.device)
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
        def join(live: Any) -> _Watched:
            self._trained = live.network.parameters()
            return _Watched(watch)

        self.train(self.cache(max(batch, 2)), self.config(batch, steps), join)

    def cache(self, count: int, larger: int = 0) -> CachedDataset:
        """As `synthetic_cache`; earlier runs are forgotten, for one that was done is not done again."""
        shutil.rmtree(self._folder, ignore_errors=True)
        return synthetic_cache(self._scene, self._folder / "cache", count, larger)

    def train(
        self, cached: CachedDataset, config: TrainConfig, *joins: Callable[[Any], Any]
    ) -> Any:
        """Train, or go on with what lies in the folder; the Result. joins: as of train_lora."""
        from ...nodes.host.training import train
        from ...nodes.host.training.request import Request

        request = Request(self.patcher, cached, config, managed=self._managed, ranks=self._ranks)
        with torch.inference_mode(), _output_below(self._folder):
            result, _ = train.train_lora(request, *joins)
        self.last_loss = result.losses[-1]
        return result

    def weights(self) -> Iterable[Tensor]:
        return [*self.patcher.model.parameters(), *self._trained]


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


SHOWN = 30
"""How often the usual images are shown for once that a larger one is."""


def synthetic_cache(scene: Scene, root: Path, count: int, larger: int = 0) -> CachedDataset:
    """What Cache Latents would leave of so many square images and captions; the numbers are random.

    larger: pixels of the side of one more image, shown once in an epoch, the others `SHOWN` times.
    """
    store, pixels = Store(root), scene.side * LATENT_PIXELS
    buckets = BucketConfig((pixels, pixels), min_reso=pixels, max_reso=max(pixels, larger), step=64)
    sides = [pixels] * count + [larger] * bool(larger)
    latents = [scene.latents(count)[number : number + 1] for number in range(count)]
    latents += [
        latents[0].repeat(1, 1, 2, 2)[..., : s // LATENT_PIXELS, : s // LATENT_PIXELS]
        for s in sides[count:]
    ]
    items = []
    for number, side in enumerate(sides):
        repeats = SHOWN if larger and side == pixels else 1
        items.append(_item(scene, store, number, latents[number][0], side, repeats))
    return CachedDataset(tuple(items), store.root, LatentConfig(buckets, "vae"), Dataset(()), TEXTS)


def _item(
    scene: Scene, store: Store, number: int, latents: Tensor, side: int, repeats: int
) -> CachedItem:
    """One image and its caption, in the store."""
    store.save(cache.KIND, f"latent {number}", {"latents": latents / VAE_SCALE})
    key = texts.text_key(TEXTS, f"thing {number}")
    context, pooled = scene.context(number + 1)[number], scene.pooled(number + 1)[number]
    store.save(texts.KIND, key, {"context": context, "pooled": pooled})
    buckets = BucketConfig((side, side), min_reso=side, max_reso=side, step=64)
    size = conditioning(assign((side, side), buckets), (side, side), False, False)
    return CachedItem(
        digest=f"digest {number}",
        name=f"image {number}",
        caption=f"thing {number}",
        bucket=(side, side),
        conditioning=size,
        flipped_conditioning=size,
        latent_key=f"latent {number}",
        flipped_key=None,
        repeats=repeats,
        weight=1.0,
        is_reg=False,
        subset="set",
    )
