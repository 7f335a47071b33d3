"""The tagger itself: an ONNX session given to it, images in, probabilities out, in batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

import numpy as np

from ...base.read_ahead import in_order, thread_count
from .labels import Labels, Layout
from .onnx_session import Port, Session, runtime_errors
from .preprocess import as_input, prepare

T = TypeVar("T")
Outcome = np.ndarray | ValueError
"""Of one image: what was asked for, or why it could not be read."""

DEFAULT_SIDE = 448
THREADS = 8
_SLACK = 1e-3  # fp16 models round a little past 1
_READS = {"csv": "[batch, side, side, 3]", "json": "[batch, 3, side, side]"}
_FILES = {"csv": "selected_tags.csv", "json": "tag_mapping.json"}


class Tagger:
    """A tagger (images in, one probability per label out) on a session that it is given."""

    def __init__(self, session: Session, labels: Labels) -> None:
        port, output = session.get_inputs()[0], session.get_outputs()[0]
        self.session = session
        self.labels = labels
        self.provider: str = session.get_providers()[0]
        self.input_size = _side(port, labels.layout)
        self.fixed_batch = _known(port.shape[0])
        self._input, self._half = port.name, port.type == "tensor(float16)"
        outputs = _known(output.shape[-1]) if output.shape else None
        if outputs not in (None, len(labels)):
            raise ValueError(
                f"the model gives {outputs} probabilities but its tag list names "
                f"{len(labels)} tags; take the model and its {_FILES[labels.layout]} from one place"
            )

    def rows(
        self,
        pictures: Iterable[T],
        batch_size: int = 8,
        decode: Callable[[T, int], np.ndarray] = prepare,
    ) -> Generator[Outcome, None, None]:
        """For each image in order its (labels,) float32, or the ValueError that `decode` raised.

        `decode` turns an image into (side, side, 3) uint8 BGR; it runs in a few threads, at most
        a batch ahead. A model with a fixed batch keeps its own.
        """
        if batch_size < 1:
            raise ValueError(f"batch size is {batch_size}; it must be at least 1")
        size = self.fixed_batch or batch_size
        waiting: list[Outcome] = []
        pixels = 0
        with closing(
            _decoded(pictures, lambda picture: decode(picture, self.input_size), size)
        ) as ready:
            for outcome in ready:
                waiting.append(outcome)
                pixels += isinstance(outcome, np.ndarray)
                if pixels == size:
                    yield from self._resolved(waiting)
                    waiting, pixels = [], 0
            yield from self._resolved(waiting)

    def _resolved(self, outcomes: list[Outcome]) -> Iterator[Outcome]:
        """The outcomes with probabilities in the place of pixels."""
        pixels = [entry for entry in outcomes if isinstance(entry, np.ndarray)]
        rows = iter(self._infer(pixels) if pixels else ())
        for entry in outcomes:
            yield next(rows) if isinstance(entry, np.ndarray) else entry

    def _infer(self, pixels: list[np.ndarray]) -> np.ndarray:
        """Prepared images -> (n, labels) float32, filled up to a fixed batch meanwhile."""
        count = len(pixels)
        filled = [*pixels, *pixels[-1:] * ((self.fixed_batch or count) - count)]
        feed = as_input(filled, self.labels.layout)
        if self._half:
            feed = feed.astype(np.float16)
        try:
            outputs = self.session.run(None, {self._input: feed})
        except runtime_errors() as error:
            raise ValueError(
                f"onnxruntime failed on {self.provider} with {len(filled)} images at a time: "
                f"{error}; if memory is short, lower the batch size, or take the provider cpu"
            ) from error
        result = np.asarray(outputs[0], np.float32)[:count]
        if result.shape != (count, len(self.labels)):
            raise ValueError(
                f"the model gave {result.shape} for {count} images and {len(self.labels)} tags; "
                f"take the model and its {_FILES[self.labels.layout]} from one place"
            )
        if self.labels.layout == "json":
            result = _sigmoid(result)
        if not np.all((result >= -_SLACK) & (result <= 1 + _SLACK)):
            raise ValueError(
                f"the model's outputs on {self.provider} are no probabilities between 0 and 1; "
                "it is not of WD14's kind, or its provider computes wrongly: try the provider cpu"
            )
        return result


def _decoded(
    pictures: Iterable[T], decode: Callable[[T], np.ndarray], ahead: int
) -> Generator[Outcome, None, None]:
    """Decoded images in order, by threads that are at most `ahead` images in front."""
    threads = thread_count(THREADS)

    def outcome(picture: T) -> Outcome:
        try:
            return decode(picture)
        except ValueError as error:
            return error

    return in_order(
        outcome,
        pictures,
        name="tagger-decode",
        threads=threads,
        ahead=lambda _: max(ahead, threads),
    )


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp of a large number is infinity, which gives 0
        return 1 / (1 + np.exp(-logits))


def _side(port: Port, layout: Layout) -> int:
    """The side of the square that the model reads; ValueError if its family reads otherwise."""
    shape = list(port.shape)
    if len(shape) == 4:
        colours, *sides = [shape[i] for i in ((3, 1, 2) if layout == "csv" else (1, 2, 3))]
        if _known(colours) in (None, 3) and _known(sides[0]) == _known(sides[1]):
            return _known(sides[0]) or DEFAULT_SIDE
    raise ValueError(
        f"the model reads {shape}, a tagger with {_FILES[layout]} reads {_READS[layout]}; use one "
        "of SmilingWolf's taggers, or the tag list that belongs to the model"
    )


def _known(size: int | str | None) -> int | None:
    return size if isinstance(size, int) and size > 0 else None
