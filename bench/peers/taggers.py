"""The ways of tagging a folder that bench/tagging.py compares: ours, a loop per image, kohya's script."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from ...tagger import TagConfig, Tagger, open_session, prepare, read_labels, select
from ...tagger.wd14.models import model_at

PROVIDERS = ["CPUExecutionProvider"]
THRESHOLD = 0.35
NEVER = 1.01


def ours(model: Path, pictures: list[Path], batch_size: int, fast: bool = False) -> None:
    """The tagger of this pack, from opening the model to the tags."""
    files = model_at(model)
    tagger = Tagger(open_session(files.model, PROVIDERS), read_labels(files.tags))
    options = TagConfig(general_threshold=THRESHOLD)
    for row in tagger.rows(pictures, batch_size, partial(prepare, fast=fast)):
        if isinstance(row, ValueError):
            raise row
        select(row, tagger.labels, options)


def loop(model: Path, pictures: list[Path], reopen: bool = False) -> None:
    """One image after the other in Pillow; with `reopen` a new session for each of them."""
    session = None
    names = [label.name for label in read_labels(model / "selected_tags.csv").entries]
    for path in pictures:
        if session is None or reopen:
            session = onnxruntime.InferenceSession(str(model / "model.onnx"), providers=PROVIDERS)
        port = session.get_inputs()[0]
        batch = naive(path, port.shape[1]).astype(np.float32)[None]
        outputs: Any = session.run(None, {port.name: batch})
        probabilities = outputs[0][0]
        sum(p >= THRESHOLD for _, p in zip(names, probabilities, strict=True))


def naive(path: Path, side: int) -> np.ndarray:
    """Decode all of it, shrink by Lanczos, paste on a white square, turn to BGR."""
    picture = Image.open(path).convert("RGB")
    ratio = side / max(picture.size)
    size = (max(1, int(picture.width * ratio)), max(1, int(picture.height * ratio)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.ascontiguousarray(np.asarray(square)[:, :, ::-1])


class Kohya:
    """kohya's script in a process of its own, so that its imports are not timed."""

    def __init__(self, clone: Path, python: Path) -> None:
        worker = Path(__file__).with_name("kohya_tagger.py")
        self.process = subprocess.Popen(
            [str(python), str(worker), str(clone)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def __enter__(self) -> Kohya:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.terminate()
        self.process.wait()

    def seconds(
        self, model: Path, pictures: list[Path], batch_size: int, workers: int
    ) -> tuple[float, float]:
        """What its main function takes for the folder of the images: wall clock, CPU time."""
        arguments = [
            str(pictures[0].parent), "--onnx", "--model_dir", str(model.parent),
            "--repo_id", model.name, "--batch_size", str(batch_size),
            "--thresh", str(THRESHOLD), "--character_threshold", str(NEVER),
        ]  # fmt: skip
        if workers:
            arguments += ["--max_data_loader_n_workers", str(workers)]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("seconds "):
                _, wall, cpu = line.split()
                return float(wall), float(cpu)
        raise SystemExit("kohya's script ended; run bench/peers/kohya_tagger.py by hand to see why")
