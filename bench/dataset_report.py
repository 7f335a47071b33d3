"""Precision and recall of Dataset Report on sets of which it is known what spoils them, and what it costs.

`COMFYUI_PATH=... python bench/dataset_report.py [--seeds 2 3 4] [--steps 120]`. Each seed makes 24 images of
the demo's robot (demo/base_model/flawed_set.py), trains the demo's model on them, and looks at the seven
that the report puts first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..demo.base_model.flawed_set import Flaws

HEAD = "seed", "flaws among the first 7", "flagged", "training", "an image", "share of training"
SEEDS = 2, 3, 4
STEPS = 120


class Found(NamedTuple):
    """What the report said of one set. first: flaws among the seven images that it puts first; flagged,
    right: images that it flags, and how many of these are flaws. CPU seconds."""

    first: int
    flawed: int
    flagged: int
    right: int
    training: float
    measuring: float
    images: int
    wrong: list[str]


def main() -> None:
    """Print a table, a row for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    from finding import import_comfyui

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        import_comfyui(base)
        sys.stdout.write(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}\n")
        for seed in options.seeds:
            found = examine(base / f"set{seed}", seed, options.steps)
            row = (
                str(seed),
                f"{found.first} of {found.flawed}",
                f"{found.flagged}, {found.right} of them flawed",
                f"{found.training:.0f} s",
                f"{found.measuring / found.images:.2f} s",
                f"{found.measuring / found.training:.0%}",
            )
            sys.stdout.write(f"| {' | '.join(row)} |\n")
            sys.stdout.flush()
            for row in found.wrong:
                sys.stderr.write(f"{row}\n")


def examine(folder: Path, seed: int, steps: int) -> Found:
    """Make a set, train on it and report on it."""
    import torch

    from ..demo import tiny_sdxl
    from ..demo.base_model import checkpoint, flawed_set
    from ..nodes.host.measuring.dataset_report import measure
    from ..nodes.host.measuring.run_settings import find_run
    from ..nodes.host.training.train import train_lora
    from ..trainer.config.measuring import MeasureConfig

    tiny_sdxl.register()
    checkpoint.register()
    loaded = tiny_sdxl.load(checkpoint.write(folder.with_suffix(".safetensors")))
    flaws = flawed_set.write(folder, seed)
    with torch.inference_mode():
        request = _request(loaded, folder, seed, steps)
        began = time.process_time()
        result, _ = train_lora(request)
        trained = time.process_time()
        settings = MeasureConfig(timesteps=4, seeds=2)
        report = measure(
            loaded.model, loaded.clip, request.cached, result.lora, settings, find_run(result.lora)
        )
        ended = time.process_time()
    return _count(report, flaws)._replace(training=trained - began, measuring=ended - trained)


def _request(loaded: Any, folder: Path, seed: int, steps: int) -> Any:
    """The demo's training (demo/graph.json) in fewer steps, on all images."""
    from ..nodes.host.dataset.cache import build_cache
    from ..nodes.host.training.request import Request
    from ..trainer.config.cache import CacheConfig
    from ..trainer.config.lora import LoraConfig
    from ..trainer.config.loss import LossConfig
    from ..trainer.config.optimiser import OptimiserConfig
    from ..trainer.config.train import TrainConfig
    from ..trainer.dataset.scan import scan_folder
    from ..trainer.sdxl.buckets import BucketConfig

    buckets = BucketConfig((128, 128), min_reso=64, max_reso=256, step=32)
    cached, _ = build_cache(scan_folder(folder), loaded.vae, loaded.clip, CacheConfig(buckets))
    config = TrainConfig(
        steps=steps,
        batch_size=4,
        seed=seed,
        lora=LoraConfig(rank=16, alpha=16, conv_rank=8, conv_alpha=8),
        optimiser=OptimiserConfig(learning_rate=1.5e-3, schedule="cosine"),
        loss=LossConfig(min_snr_gamma=5),
    )
    return Request(loaded.model, cached, config, clip=loaded.clip)


def _count(report: Any, flaws: Flaws) -> Found:
    """A copy is found if it or the image that it is a copy of is."""
    same = {flaws.copies[copy]: copy for copy in flaws.copies}
    flawed = {*flaws.captions, *flaws.foreign, *flaws.copies}
    names = [report.items[verdict.image].name.rpartition("/")[2] for verdict in report.verdicts]
    told = [same.get(name, name) for name in names]
    flags = [name for name, verdict in zip(told, report.verdicts, strict=True) if verdict.flag]
    first = told[: len(flawed)]
    wrong = [
        f"{name} {'missed' if name in flawed else 'wrong'}: {verdict.flag} {verdict.score:.2f} {verdict.reason}"
        for place, (name, verdict) in enumerate(zip(told, report.verdicts, strict=True))
        if (name in flawed) != (place < len(flawed)) and not (name in flawed and name in first)
    ]
    return Found(
        len(flawed.intersection(first)),
        len(flawed),
        len(flags),
        len(flawed.intersection(flags)),
        0.0,
        0.0,
        len(names),
        wrong,
    )


if __name__ == "__main__":
    main()
