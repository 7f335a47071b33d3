"""The tagger itself: an ONNX session given to it, images in, probabilities out, in batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

import numpy as np

from ...base.read_ahead import in_order, thread_count
from .family import recognised
from .labels import Labels
from .onnx_session import Session, runtime_errors
from .preprocess import View, prepare

T = TypeVar("T")
Outcome = np.ndarray | ValueError
"""Of one image: what was asked for, or why it could not be read."""

THREADS = 8
_SLACK = 1e-3  # fp16 models round a little past 1


class Tagger:
    """A tagger (images in, one probability per label out) on a session that it is given."""

    def __init__(self, session: Session, labels: Labels) -> None:
        self.session = session
        self.labels = labels
        self.provider: str = session.get_providers()[0]
        self._reading = recognised(session, labels)
        self.family, self.view = self._reading.family.name, self._reading.view
        self.fixed_batch = self._reading.batch

    def rows(
        self,
        pictures: Iterable[T],
        batch_size: int = 8,
        decode: Callable[[T, View], np.ndarray] = prepare,
    ) -> Generator[Outcome, None, None]:
        """For each image in order its (labels,) float32, or the ValueError that `decode` raised.

        `decode` turns an image into the (side, side, 3) uint8 BGR of a view; it runs in a few threads, at most
        a batch ahead. A model with a fixed batch keeps its own.
        """
        if batch_size < 1:
            raise ValueError(f"batch size is {batch_size}; it must be at least 1")
        size = self.fixed_batch or batch_size
        waiting: list[Outcome] = []
        pixels = 0
        with closing(_decoded(pictures, lambda picture: decode(picture, self.view), size)) as ready:
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
        feed = self._reading.family.feed(filled)
        if self._reading.half:
            feed = feed.astype(np.float16)
        try:
            outputs = self.session.run([self._reading.output], {self._reading.input: feed})
        except runtime_errors() as error:
            raise ValueError(
                f"onnxruntime failed on {self.provider} with {len(filled)} images at a time: "
                f"{error}; if memory is short, lower the batch size, or take the provider cpu"
            ) from error
        result = np.asarray(outputs[0], np.float32)[:count]
        if result.shape != (count, len(self.labels)):
            raise ValueError(
                f"the model gave {result.shape} for {count} images and {len(self.labels)} tags; "
                f"take the model and its {self.labels.file} from one place"
            )
        if self._reading.logits:
            result = _sigmoid(result)
        if not np.all((result >= -_SLACK) & (result <= 1 + _SLACK)):
            raise ValueError(
                f"the model's outputs on {self.provider} are no probabilities between 0 and 1; "
                f"it is not of the kind of {self.family}, or its provider computes wrongly: try the "
                "provider cpu"
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
