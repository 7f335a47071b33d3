"""A large folder through load, tag, filter, buckets and cache: seconds and memory, then the same again.

`COMFYUI_PATH=... python bench/scale.py [--count 10000] [--folder DIR] [--before CHECKOUT]`. Small images of mixed formats
are made on the spot. The first run and each rerun are processes of their own, and the median rerun is
shown. Memory is the peak of resident pages above what the imports take; CPU seconds stand beside the
others for machines that do something else meanwhile. The tagger and the VAE are tiny stand-ins, so the
seconds are those of everything around them. A rerun must open no image file. With --before another
checkout does the same in turn, and the last lines are the ratios of CPU time to it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MIB = 1 << 20
SIZES = ((192, 192), (192, 128), (128, 192), (256, 112), (144, 224))
ENDINGS = (".png", ".jpg", ".webp", ".bmp")
MOTIFS = 40
RERUNS = 5
LIMIT_GB = 50.0
TAGGER = "wd-swinv2-tagger-v3"
OLD = 1_600_000_000  # what was changed just now would not be remembered


def main() -> None:
    """Make the images, run twice, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to work; else a temporary folder")
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    parser.add_argument("--pack", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        _run(options.folder, options.pack)
        return
    packs = {"now": ROOT} | ({"before": options.before.resolve()} if options.before else {})
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        _make(Path(work, "set"), options.count)
        sys.stdout.write(f"{options.count} images\n\n")
        places = {name: _place(Path(work), name) for name in packs}
        runs = {name: [_phase(places[name], packs[name], "first")] for name in packs}
        for _ in range(RERUNS):
            for name, pack in packs.items():
                runs[name].append(_phase(places[name], pack, "again"))
    cpu = {name: _told(name, *found) for name, found in runs.items()}
    if options.before:
        from .ratios import say

        names = "scale_first", "scale_again"
        pairs = zip(cpu["now"], cpu["before"], strict=True)
        say(**{name: now / then for name, (now, then) in zip(names, pairs, strict=True)})


def _place(work: Path, name: str) -> Path:
    """A folder of one checkout with the same images and the tagger."""
    from finding import find_pack

    find_pack()
    from ..demo import tiny_tagger

    place = work / name
    shutil.copytree(work / "set", place / "set", copy_function=os.link)
    tiny_tagger.write(place / "models" / "wd14_tagger" / TAGGER, every=16)
    return place


def _told(name: str, first: dict[str, Any], *again: dict[str, Any]) -> tuple[float, float]:
    """Print what a checkout took; CPU seconds of its first run and of the median rerun."""
    totals = [sum(cpu for _, cpu, _ in run["stages"].values()) for run in again]
    median = again[totals.index(statistics.median_low(totals))]
    sys.stdout.write(f"{name}\n{_table(first, median)}")
    shown = ", ".join(f"{total:.2f} s" for total in totals)
    sys.stdout.write(f"CPU time of the reruns: {shown}\n\n")
    return first["stages"]["total"][1], median["stages"]["total"][1]


def _phase(work: Path, pack: Path, name: str) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--phase",
        name,
        "--folder",
        str(work),
        "--pack",
        str(pack),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _table(first: dict[str, Any], again: dict[str, Any]) -> str:
    runs = (first, again)
    columns = f"{'seconds':>10}{'CPU':>9}{'MiB':>7}"
    rows = [f"{'':14}{'first run':>26}{'unchanged rerun':>26}", f"{'':14}{columns}{columns}"]
    for run in runs:
        seconds, cpu, peaks = zip(*run["stages"].values(), strict=True)
        run["stages"]["total"] = (sum(seconds), sum(cpu), max(peaks))
    for stage in first["stages"]:
        cells = [run["stages"][stage] for run in runs]
        row = "".join(f"{s:10.2f}{c:9.2f}{p / MIB:7.0f}" for s, c, p in cells)
        rows.append(f"{stage:14}{row}")
    opened = f"{first['opened']} in the first run, {again['opened']} in the rerun"
    return "\n".join([*rows, f"images opened: {opened}", ""])


def _make(folder: Path, count: int) -> None:
    """Images of some motifs, each file with noise of its own, half of them with captions."""
    import numpy as np
    from PIL import Image

    folder.mkdir()

    def make(number: int) -> None:
        rng = np.random.default_rng(number)
        width, height = SIZES[number % len(SIZES)]
        motif = np.random.default_rng(number % MOTIFS)
        colours = motif.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        picture = Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(picture).astype(np.int16) + rng.integers(-6, 7, (height, width, 3))
        path = folder / f"image {number}{ENDINGS[number % len(ENDINGS)]}"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        os.utime(path, (OLD, OLD))
        if number % 2:
            path.with_suffix(".txt").write_text(f"motif {number % MOTIFS}, 1girl, solo", "utf-8")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, range(count)))


def _run(work: Path, pack: Path) -> None:
    """What Load Dataset, WD14 Tag, Filter Tags, Cache Latents and Train call, in this process.

    The numbers are JSON in the last line of the output.
    """
    from finding import import_comfyui

    import_comfyui(work, root=pack)
    import onnxruntime  # noqa: F401  (else it would count as tagging)

    from ..nodes.host import cache_folder
    from ..nodes.host.dataset import clear_cache, filter_tags, load
    from ..nodes.host.dataset import tag as tagging
    from ..tagger import FilterConfig, TagConfig, TaggerConfig
    from ..trainer.batches.training_data import TrainingData
    from ..trainer.cache.latents import LatentConfig, cache_latents
    from ..trainer.config.train import TrainConfig
    from ..trainer.sdxl.buckets import BucketConfig

    folder = load.LoadConfig(str(work / "set"))
    settings = BucketConfig((64, 64), min_reso=32, max_reso=128, step=16)
    recipe = LatentConfig(settings, "stand-in")
    options = FilterConfig(trigger="sks")
    run = _Run()

    def cache() -> Any:
        with cache_folder.cache_store() as store:
            found = cache_latents(dataset, recipe, _encode, store, batch_size=32)
            clear_cache.keep_within(LIMIT_GB, found, store)
            return found

    def check() -> None:
        with cache_folder.cache_store() as store:
            TrainingData(cached, "none", store).missing(TrainConfig())

    run.stage("stamp", lambda: load.folder_stamp(folder))
    dataset, _ = run.stage("load", lambda: load.load_dataset(folder))
    tagger = TaggerConfig(TAGGER, provider="cpu")
    tagged = run.stage("tag", lambda: tagging.tag_dataset(dataset, tagger, TagConfig(), "append"))
    dataset = tagged.dataset
    dataset, _ = run.stage("filter", lambda: filter_tags.filter_dataset(dataset, options))
    cached = run.stage("buckets, cache", cache)
    run.stage("check in Train", check)
    sys.stdout.write(f"\n{json.dumps(run.result())}\n")


class _Run:
    """Seconds, CPU seconds and peak memory of each stage, and the image files opened since it was made."""

    def __init__(self) -> None:
        self._stages: dict[str, tuple[float, float, int]] = {}
        self._opened = 0
        self._base = resident("VmRSS")
        sys.addaudithook(self._audit)

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        """Do the work and note what it took."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
        start, cpu = time.perf_counter(), time.process_time()
        value = work()
        took = (time.perf_counter() - start, time.process_time() - cpu)
        self._stages[name] = (*took, max(0, resident("VmHWM") - self._base))
        return value

    def result(self) -> dict[str, Any]:
        return {"stages": self._stages, "opened": self._opened}

    def _audit(self, event: str, arguments: tuple) -> None:
        if event == "open" and str(arguments[0]).endswith(ENDINGS):
            self._opened += 1


def _encode(pixels: Any) -> Any:
    """A VAE of no cost: the mean colour of eight by eight pixels."""
    import torch

    means = torch.nn.functional.avg_pool2d(torch.from_numpy(pixels).movedim(-1, 1) / 255, 8)
    return torch.cat([means, means[:, :1]], 1)


def resident(name: str) -> int:
    """Bytes of this process: VmRSS resident now, VmHWM the most so far."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if name in row)
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
