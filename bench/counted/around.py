"""What a step of ours takes around forward, backward, clipping and optimiser: batches, draws, books."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from ...trainer.optim.optimiser import Optimiser
from ...trainer.training.gradients import Gradients

COMPUTATION = ((Gradients, "__call__"), (Optimiser, "clip"), (Optimiser, "step"))


class Around:
    """A watch that tells the computation of a step from the rest of it, in CPU seconds.

    Steps are those that a `Clock` takes, see bench/peers/way.py.
    """

    def __init__(self) -> None:
        self._inside = 0.0
        self._at: list[tuple[float, float]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """To be open while the training runs."""
        with ExitStack() as stack:
            for owner, name in COMPUTATION:
                timed = self._timed(getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, timed))
            yield

    def step(self) -> None:
        """A step is done."""
        self._at.append((time.process_time(), self._inside))

    def parts(self) -> tuple[float, float]:
        """Medians: seconds of a step in all, and of what is around its computation."""
        steps = list(zip(self._at[:-1], self._at[1:-1], strict=False))
        whole = [after[0] - before[0] for before, after in steps]
        inside = [after[1] - before[1] for before, after in steps]
        outside = [all_of - part for all_of, part in zip(whole, inside, strict=True)]
        return statistics.median(whole), statistics.median(outside)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside += time.process_time() - begin

        return timed
