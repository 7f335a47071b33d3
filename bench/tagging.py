"""Tagging and preprocessing side by side, in one run: ours, a loop per image, kohya's script.

`python bench/tagging.py [--kohya CLONE --kohya-python PYTHON] [--json FILE]`. Rounds alternate
between the ways; medians and ratios are printed, wall clock and CPU time, which
other programs on the machine disturb less. Needs scikit-image, onnx and torchvision. The big
model has the shape of wd-swinv2-tagger-v3 and random weights: its times are meaningful, its tags are
not. `--work FOLDER` keeps the models and images for the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

SIDE = 2048
BATCH = 8

Timed = Callable[[], tuple[float, float] | None]
"""Does the work; says what it took, wall clock and CPU time, if that is not the whole call."""


def main() -> None:
    """Run all comparisons, print their tables, and write the figures if asked."""
    options = _parse()
    from finding import find_pack

    find_pack()
    with ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        figures = _run(options, work, stack)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=48, help="for the tiny tagger")
    parser.add_argument("--big-pictures", type=int, default=4, help="for the big one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big-rounds", type=int, default=3)
    parser.add_argument("--kohya", type=Path, help="a clone of kohya's sd-scripts")
    parser.add_argument("--kohya-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--tagger", type=Path, help="one more tagger to measure agreement on")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _run(options: argparse.Namespace, work: Path, stack: ExitStack) -> dict[str, Any]:
    from ..demo import tiny_tagger
    from .data import photographs, swinv2_tagger
    from .peers.taggers import Kohya

    tiny = tiny_tagger.write(work / "models" / "tiny")
    big = swinv2_tagger.write(work / "models" / "swinv2_shape")
    many = photographs.write(work / f"many_{options.pictures}", options.pictures, SIDE)
    few = photographs.write(work / f"few_{options.big_pictures}", options.big_pictures, SIDE)
    enlarged = photographs.write_enlarged(work / "enlarged")
    kohya = None
    if options.kohya:
        kohya = stack.enter_context(Kohya(options.kohya, options.kohya_python))
    agreement = {"tiny": (tiny, enlarged), "swinv2 shape, random weights": (big, enlarged[1::3])}
    if options.tagger:
        agreement[options.tagger.name] = (options.tagger, enlarged)
    return {
        "machine": _machine(),
        "preprocessing, one thread": timed(_preparations(many), options.rounds, len(many)),
        "tagging, tiny model": timed(_ways(tiny, many, kohya), options.rounds, len(many)),
        "tagging, swinv2 shape": timed(_ways(big, few, kohya), options.big_rounds, len(few)),
        "fast_decode agreement": {
            name: _agreement(folder, pictures) for name, (folder, pictures) in agreement.items()
        },
    }


def _preparations(pictures: list[Path]) -> dict[str, Timed]:
    import cv2

    from ..tagger import prepare
    from .peers.taggers import naive

    cv2.setNumThreads(1)

    def each(function: Callable[[Path], Any]) -> Timed:
        def run() -> None:
            for path in pictures:
                function(path)

        return run

    return {
        "decode and Lanczos": each(partial(naive, side=448)),
        "ours": each(prepare),
        "ours, fast_decode": each(partial(prepare, fast=True)),
    }


def _ways(model: Path, pictures: list[Path], kohya: Any) -> dict[str, Timed]:
    """The first is what the others are measured against."""
    import cv2

    from .peers.taggers import loop, ours

    cv2.setNumThreads(-1)
    ways: dict[str, Timed] = {
        "loop per image": lambda: loop(model, pictures),
        "loop, new session each": lambda: loop(model, pictures, reopen=True),
        "ours": lambda: ours(model, pictures, BATCH),
        "ours, fast_decode": lambda: ours(model, pictures, BATCH, fast=True),
    }
    if kohya is not None:
        workers = os.cpu_count() or 1
        ways["kohya's script"] = lambda: kohya.seconds(model, pictures, BATCH, 0)
        ways["kohya's script, data loader"] = lambda: kohya.seconds(model, pictures, BATCH, workers)
    return ways


def timed(ways: Mapping[str, Timed], rounds: int, pictures: int) -> dict[str, Any]:
    """Seconds of every round by way, the medians as images per second, ratios to the first way."""
    for run in ways.values():
        run()  # warm: files in the page cache, code loaded
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            wall, cpu = time.perf_counter(), sum(os.times()[:4])
            said = run()
            here = (time.perf_counter() - wall, sum(os.times()[:4]) - cpu)
            taken[name].append(said or here)
    table: dict[str, Any] = {name: {} for name in ways}
    for place, measure in enumerate(("wall clock", "CPU")):
        medians = {n: statistics.median(v[place] for v in values) for n, values in taken.items()}
        for name, median in medians.items():
            table[name][measure] = {
                "images per second": round(pictures / median, 2),
                "ratio": round(next(iter(medians.values())) / median, 2),
                "seconds": [round(value[place], 3) for value in taken[name]],
            }
    sys.stdout.write(f"\n{pictures} images, medians of {rounds} rounds: wall clock, CPU time\n")
    for name, row in table.items():
        cells = [f"{m['images per second']:8} /s  x{m['ratio']:<6}" for m in row.values()]
        sys.stdout.write(f"  {name:28} {''.join(cells)}\n")
    sys.stdout.flush()
    return table


def _agreement(model: Path, pictures: list[Path]) -> dict[str, dict[str, float]]:
    """How far the tags of other decodings are from those of the exact one."""
    import numpy as np

    from ..tagger import Tagger, View, open_session, prepare, read_labels
    from ..tagger.wd14.models import model_at
    from .peers.taggers import PROVIDERS, THRESHOLD, naive

    files = model_at(model)
    tagger = Tagger(open_session(files.model, PROVIDERS), read_labels(files.tags))

    def rows(decode: Callable[..., np.ndarray]) -> np.ndarray:
        return np.stack([np.asarray(row) for row in tagger.rows(pictures, BATCH, decode)])

    def lanczos(picture: Path, view: View) -> np.ndarray:
        return naive(picture, view.side)

    exact, table = rows(prepare), {}
    for name, decode in {"fast_decode": partial(prepare, fast=True), "Lanczos": lanczos}.items():
        other = rows(decode)
        ours, theirs = exact >= THRESHOLD, other >= THRESHOLD
        table[name] = {
            "tags an image": round(float(ours.sum(1).mean()), 1),
            "tags in both, of those in either": round(
                float((ours & theirs).sum() / max(1, (ours | theirs).sum())), 4
            ),
            "images with equal tags": round(float((ours == theirs).all(1).mean()), 3),
            "largest difference of a probability": round(float(np.abs(exact - other).max()), 4),
        }
        sys.stdout.write(f"{model.name}, {name} against exact: {table[name]}\n")
    return table


def _machine() -> dict[str, str]:
    import cv2
    import onnxruntime
    import PIL

    return {
        "platform": platform.platform(),
        "cpu cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
    }


if __name__ == "__main__":
    main()
