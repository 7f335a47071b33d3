"""The tagger itself: an ONNX session given to it, pictures in, probabilities out, in batches."""

from __future__ import annotations

import importlib
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from .labels import Label
from .preprocess import Picture, prepare

Provider = Literal["auto", "cuda", "directml", "coreml", "cpu"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)

# In the order in which "auto" prefers them.
PROVIDER_NAMES = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
DEFAULT_SIDE = 448
_SLACK = 1e-3  # fp16 models round a little past 1

logger = logging.getLogger(__name__)


class Port(Protocol):
    """An input or output of the model as ONNX Runtime describes it; unknown sizes are text or None."""

    name: str
    shape: Sequence[int | str | None]
    type: str


class Session(Protocol):
    """What is used of `onnxruntime.InferenceSession` (`Any`: its outputs have no narrower type)."""

    def get_inputs(self) -> Sequence[Port]: ...
    def get_outputs(self) -> Sequence[Port]: ...
    def get_providers(self) -> Sequence[str]: ...
    def run(self, output_names: Any, input_feed: Any, /) -> Sequence[Any]: ...


def available_providers() -> list[str]:
    """The execution providers of the installed onnxruntime; ValueError if there is none."""
    return list(_runtime().get_available_providers())


def choose_providers(available: Sequence[str], wanted: Provider = "auto") -> list[str]:
    """Execution providers to ask for, best first, the CPU always last.

    A wanted one that onnxruntime lacks is warned about in the log, and the CPU taken.
    """
    if wanted not in PROVIDERS:
        raise ValueError(f"provider {wanted!r} is not known; choose {', '.join(PROVIDERS)}")
    cpu = PROVIDER_NAMES["cpu"]
    names = PROVIDER_NAMES.values() if wanted == "auto" else [PROVIDER_NAMES[wanted]]
    chosen = [name for name in names if name in available and name != cpu]
    if wanted not in ("auto", "cpu") and not chosen:
        logger.warning(
            "the installed onnxruntime has no %s (it has %s): tagging on the CPU",
            PROVIDER_NAMES[wanted],
            ", ".join(available),
        )
    return [*chosen, cpu]


def open_session(path: str | Path, providers: Sequence[str]) -> Session:
    """An ONNX Runtime session; ValueError for a damaged file, a log warning for another provider."""
    runtime = _runtime()
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = ("Fail", "NoSuchFile", "InvalidProtobuf", "InvalidGraph", "InvalidArgument")
    names = (*names, "NotImplemented", "RuntimeException", "EPFail")
    errors = tuple(getattr(state, name) for name in names if hasattr(state, name))
    try:
        session = runtime.InferenceSession(str(path), providers=list(providers))
    except errors as error:
        raise ValueError(
            f"onnxruntime cannot open the tagger {path}: {error}; if the file is damaged, delete "
            "it and download it again"
        ) from error
    if providers and session.get_providers()[0] != providers[0]:
        logger.warning(
            "onnxruntime could not start %s: tagging with %s",
            providers[0],
            session.get_providers()[0],
        )
    return session


class Tagger:
    """A WD14 model (NHWC pictures in, one probability per label out) on a session that it is given."""

    def __init__(self, session: Session, labels: Sequence[Label]) -> None:
        port, output = session.get_inputs()[0], session.get_outputs()[0]
        self.session = session
        self.labels = tuple(labels)
        self.provider: str = session.get_providers()[0]
        self.input_size = _side(port)
        self.fixed_batch = _known(port.shape[0])
        self._input, self._half = port.name, port.type == "tensor(float16)"
        outputs = _known(output.shape[-1]) if output.shape else None
        if outputs not in (None, len(self.labels)):
            raise ValueError(
                f"the model gives {outputs} probabilities but its tag list names "
                f"{len(self.labels)} tags; take model.onnx and selected_tags.csv from one place"
            )

    def probabilities(
        self,
        pictures: Iterable[Picture],
        batch_size: int = 8,
        on_batch: Callable[[int], None] | None = None,
        kohya: bool = False,
    ) -> np.ndarray:
        """(n, labels) float32 of all pictures; `on_batch` hears how many are done and may raise."""
        rows: list[np.ndarray] = []
        done = 0
        for block in self.batches(pictures, batch_size, kohya):
            rows.append(block)
            done += len(block)
            if on_batch is not None:
                on_batch(done)
        return np.concatenate(rows) if rows else np.empty((0, len(self.labels)), np.float32)

    def batches(
        self, pictures: Iterable[Picture], batch_size: int = 8, kohya: bool = False
    ) -> Iterator[np.ndarray]:
        """(<= batch, labels) float32, batch after batch in order; a fixed-batch model keeps its own.

        Pictures are decoded in a few threads, at most one batch ahead; ValueError names a picture
        that cannot be read.
        """
        if batch_size < 1:
            raise ValueError(f"batch size is {batch_size}; it must be at least 1")
        size = self.fixed_batch or batch_size
        ready = _decoded(pictures, self.input_size, kohya, size)
        try:
            while block := list(islice(ready, size)):
                yield self._infer(np.stack(block))
        finally:
            ready.close()

    def _infer(self, block: np.ndarray) -> np.ndarray:
        """(n, side, side, 3) float32 -> (n, labels) float32, filled up to a fixed batch meanwhile."""
        count = len(block)
        if self.fixed_batch is not None and count < self.fixed_batch:
            block = np.concatenate([block, np.repeat(block[-1:], self.fixed_batch - count, axis=0)])
        feed = block.astype(np.float16) if self._half else block
        result = np.asarray(self.session.run(None, {self._input: feed})[0], np.float32)[:count]
        if result.shape != (count, len(self.labels)):
            raise ValueError(
                f"the model gave {result.shape} for {count} pictures and {len(self.labels)} tags; "
                "take model.onnx and selected_tags.csv from one place"
            )
        if not np.all((result >= -_SLACK) & (result <= 1 + _SLACK)):
            raise ValueError(
                f"the model's outputs on {self.provider} are no probabilities between 0 and 1; "
                "it is not of WD14's kind, or its provider computes wrongly: try the provider cpu"
            )
        return result


def _decoded(
    pictures: Iterable[Picture], side: int, kohya: bool, ahead: int
) -> Generator[np.ndarray, None, None]:
    """Prepared pictures in order, decoded by threads that are at most `ahead` pictures in front."""
    workers = min(4, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers, "tagger-decode")
    waiting: deque[Future[np.ndarray]] = deque()
    try:
        for picture in pictures:
            waiting.append(pool.submit(prepare, picture, side, kohya))
            if len(waiting) > max(ahead, workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _side(port: Port) -> int:
    """The side of the square that the model reads; ValueError if it is not (N, side, side, 3)."""
    shape = list(port.shape)
    if len(shape) != 4 or _known(shape[3]) not in (None, 3) or _known(shape[1]) != _known(shape[2]):
        raise ValueError(
            f"the model reads {shape}, a WD14 tagger reads [batch, side, side, 3]; use one of "
            "SmilingWolf's taggers"
        )
    return _known(shape[1]) or DEFAULT_SIDE


def _known(size: int | str | None) -> int | None:
    return size if isinstance(size, int) and size > 0 else None


def _runtime() -> Any:
    """The onnxruntime module, loaded at first use."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ValueError(
            "tagging needs the package onnxruntime; install it into ComfyUI's Python with "
            "`pip install onnxruntime` (onnxruntime-gpu for CUDA, onnxruntime-directml on Windows)"
        ) from error
