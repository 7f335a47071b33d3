"""Options for small sets on the demo's model: the loss of images that were not trained on, beside plain training.

`COMFYUI_PATH=... python bench/small_data.py [--seeds 3] [--steps 40] [--only uniform ema]`. A seed chooses
six of eighteen images of the demo's robot, the order of images, and all noise; the other twelve are measured,
at evenly spread timesteps and with noise that is the same for every row. A row says by how much that loss
is lower than the model's own, in the mean of the seeds, and how this differs from the first row, seed by seed,
with the interval that holds 95 % (Student's t). Rates are not tuned, apart from those that are named.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..trainer.cache.latents import CachedDataset
    from ..trainer.config.loss import LossConfig
    from ..trainer.config.optimiser import OptimiserConfig

IMAGES, TRAINED = 18, 6
RATE = 1.5e-3
HEAD = "training", "loss of held-out images", "against plain training"


def variants() -> dict[str, tuple[LossConfig, OptimiserConfig]]:
    """What is compared, by name; the first is plain training."""
    from ..trainer.config.loss import LossConfig
    from ..trainer.config.optimiser import OptimiserConfig

    def drawn(kind: Any, scale: float = 1.0, location: float = 0.0) -> LossConfig:
        return LossConfig(timestep_sampling=kind, timestep_location=location, timestep_scale=scale)

    def by(kind: Any, rate: float = RATE) -> OptimiserConfig:
        return OptimiserConfig(type=kind, learning_rate=rate)

    plain, adamw = LossConfig(), by("AdamW")
    return {
        "uniform": (plain, adamw),
        "sigmoid": (drawn("sigmoid"), adamw),
        "sigmoid, location 1": (drawn("sigmoid", location=1.0), adamw),
        "laplace": (drawn("laplace"), adamw),
        "beta, scale 0.5": (drawn("beta", 0.5), adamw),
        "beta, scale 2": (drawn("beta", 2.0), adamw),
        "immiscible 4": (LossConfig(immiscible=4), adamw),
        "ema 0.98": (plain, OptimiserConfig(learning_rate=RATE, ema_decay=0.98)),
        "CAME": (plain, by("CAME")),
        "CAME, rate 0.0003": (plain, by("CAME", 3e-4)),
        "StableAdamW": (plain, by("StableAdamW")),
        "ADOPT": (plain, by("ADOPT")),
        "Adan": (plain, by("Adan")),
        "SOAP": (plain, by("SOAP")),
        "Muon, rate 0.005": (plain, by("Muon", 5e-3)),
    }


def main() -> None:
    """Print a table, a row for each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only", nargs="+", default=[])
    options = parser.parse_args()
    from finding import import_comfyui

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        import_comfyui(base)
        write(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}\n")
        first: list[float] = []
        loaded = model(base)
        scenes = [sets(loaded, base, seed) for seed in range(options.seeds)]
        for name, parts in variants().items():
            if options.only and not any(name.startswith(one) for one in options.only):
                continue
            found = [
                gain(loaded, scene, seed, options.steps, *parts)
                for seed, scene in enumerate(scenes)
            ]
            first = first or found
            sys.stderr.write(f"{name}: {', '.join(f'{share:.3f}' for share in found)}\n")
            apart = [ours - plain for ours, plain in zip(found, first, strict=True)]
            write(f"| {name} | {told(found)} | {told(apart)} |\n")


def write(text: str) -> None:
    """At once, since a row takes minutes."""
    sys.stdout.write(text)
    sys.stdout.flush()


def told(shares: list[float]) -> str:
    """The mean of percentages with its 95 % interval."""
    from ..trainer.curves.students_t import quantile_95

    mean = statistics.fmean(shares)
    if not any(shares):
        return "-"
    if len(shares) < 2:
        return f"{mean:+.2f} %"
    half = quantile_95(len(shares) - 1) * statistics.stdev(shares) / len(shares) ** 0.5
    return f"{mean:+.2f} ± {half:.2f} %"


def model(base: Path) -> Any:
    """The demo's MODEL, CLIP and VAE."""
    from ..demo import tiny_sdxl
    from ..demo.base_model import checkpoint

    tiny_sdxl.register()
    checkpoint.register()
    return tiny_sdxl.load(checkpoint.write(base / "model.safetensors"))


class Sets(NamedTuple):
    """What is trained on, what is held out, and the model's own loss of that."""

    seen: CachedDataset
    held: CachedDataset
    loss: float


def sets(loaded: Any, base: Path, seed: int) -> Sets:
    """The images of a seed."""
    import torch
    from PIL import Image

    from ..demo.base_model import dataset, scenes
    from ..nodes.host.dataset.cache import build_cache
    from ..trainer.config.cache import CacheConfig
    from ..trainer.dataset.scan import scan_folder
    from ..trainer.sdxl.buckets import BucketConfig

    shown = scenes.robots(IMAGES)
    random.Random(seed).shuffle(shown)
    buckets = BucketConfig((128, 128), min_reso=64, max_reso=256, step=32)
    found = []
    for name, part in (("seen", shown[:TRAINED]), ("held", shown[TRAINED:])):
        folder = base / f"{name}{seed}"
        folder.mkdir(exist_ok=True)
        for number, scene in enumerate(part):
            large = scene.picture.repeat(dataset.SCALE, 0).repeat(dataset.SCALE, 1)
            Image.fromarray(large).save(folder / f"{number:02}.png")
            (folder / f"{number:02}.txt").write_text(", ".join(scene.tags), "utf-8")
        with torch.inference_mode():
            cached, _ = build_cache(
                scan_folder(folder), loaded.vae, loaded.clip, CacheConfig(buckets)
            )
        found.append(cached)
    seen, held = found
    return Sets(seen, held, measured(loaded, held))


def measured(loaded: Any, held: CachedDataset, lora: Any = None) -> float:
    """The mean loss of images, on noise that is the same each time."""
    import torch

    from ..nodes.host.measuring.measuring import Measuring
    from ..trainer.config.measuring import MeasureConfig

    settings = MeasureConfig(timesteps=6, seeds=1)
    with torch.inference_mode(), Measuring(loaded.model, loaded.clip, held, settings) as measuring:
        return float(measuring.losses(lora).mean())


def gain(
    loaded: Any, scene: Sets, seed: int, steps: int, loss: LossConfig, optimiser: OptimiserConfig
) -> float:
    """By how many per cent the held-out loss is higher than the model's own: below 0 where it has learned."""
    import torch

    from ..nodes.host.training.request import Request
    from ..nodes.host.training.train import train_lora
    from ..trainer.config.lora import LoraConfig
    from ..trainer.config.train import TrainConfig

    with torch.inference_mode():
        config = TrainConfig(
            steps=steps, batch_size=2, seed=seed, lora=LoraConfig(rank=16, alpha=16),
            loss=loss, optimiser=optimiser,
        )  # fmt: skip
        result, _ = train_lora(Request(loaded.model, scene.seen, config, clip=loaded.clip))
    return 100 * (measured(loaded, scene.held, result.lora) / scene.loss - 1)


if __name__ == "__main__":
    main()
