"""Find Learning Rate: short trainings at a rising rate, of which nothing stays."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from ....base.inside import inside
from ....trainer.config.train import TrainConfig
from ....trainer.curves.measurement import QUANTILE_95, Measurement
from ....trainer.curves.overlay import Line, draw_lines
from ....trainer.optim.lr_schedule import learning_rate
from ....trainer.runs.run_folder import RunFolder
from ....trainer.runs.trash import remove_folder
from ....trainer.training.loop import StepEvent
from ....trainer.validation.measure import Validation
from ....trainer.validation.rate_range import (
    Point,
    Suggestion,
    is_lost,
    measured_at,
    rising,
    suggest,
)
from ....trainer.validation.split import split
from .. import folders
from ..cache_folder import cache_store
from ..dataset.tagger_session import REGISTRY
from ..progress import NodeProgress, check_interrupt
from ..training.beginning import Beginning
from ..training.live_training import LiveTraining, train_live
from ..training.request import Request
from ..training.train import RunData, memory_given_back, run_data, run_inputs

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """What the node gives. plot: HWC uint8 RGB."""

    rate: float
    plot: np.ndarray
    report: str


def find_rate(request: Request, lowest: float, highest: float, repeats: int) -> Found:
    """Train ``repeats`` times from ``lowest`` to ``highest`` and say where the held-out loss falls fastest.

    The config of the request has the number of steps. The MODEL stays as it is, and no run is made. Called in
    inference mode.

    Raises:
        ValueError: unusable input, before any work; or the loss did not fall anywhere.
    """
    begun = time.perf_counter()
    items = request.cached.items
    pictures = len({item.digest for item in items if not (item.is_reg or item.preserves)})
    config = rising(request.config, pictures, lowest, highest)
    request = dataclasses.replace(request, config=config)
    request.check()
    progress = NodeProgress(repeats * config.steps, request.node_id)
    curves = []
    for repeat in range(repeats):
        seeded = dataclasses.replace(config, seed=config.seed + repeat)
        progress.say(
            f"learning rates {lowest:g} to {highest:g}, training {repeat + 1} of {repeats}"
        )
        again = dataclasses.replace(request, config=seeded)
        curves.append(_curve(again, progress, repeat * config.steps))
    found = suggest(curves)
    seconds = time.perf_counter() - begun
    return Found(found.rate, _plot(curves, found), _report(curves, found, config, seconds))


def _curve(request: Request, progress: NodeProgress, before: int) -> list[Point]:
    """Train once; the start and the points that it came to."""
    config = request.config
    parts = split(request.cached, config)
    folder = RunFolder(folders.finder_root(), run_inputs(request, None))
    points: list[Point] = []
    with (
        _nothing_stays(folder),
        folder.open(config),
        cache_store(request.cached.store_root) as store,
    ):
        REGISTRY.release()
        data = run_data(request, parts, folder.inputs.texts, store)
        with memory_given_back():
            beginning = Beginning(folder, 0)

            def join(live: LiveTraining) -> _Measuring:
                return _Measuring(live, data, config, points, progress, before)

            train_live(request.model, data.training, config, beginning, progress, [join])
    return points


class _Measuring:
    """A follower that measures the held-out images at the start and every few steps."""

    def __init__(
        self,
        live: LiveTraining,
        data: RunData,
        config: TrainConfig,
        points: list[Point],
        progress: NodeProgress,
        before: int,
    ) -> None:
        self._live, self._points, self._before, self._progress = live, points, before, progress
        self._measured = Validation(data.held_out, data.held_out.dataset.items, config)
        self._due = frozenset(measured_at(config.steps))
        self._measure(0.0)

    def on_step(self, event: StepEvent) -> str | None:
        """Told after every step; may raise an interrupt. Ends a training that has run away."""
        self._progress.update(self._before + event.step)
        if event.step not in self._due:
            return None
        self._measure(event.learning_rate)
        lost = is_lost(self._points[0].losses, self._points[-1].losses)
        return "the loss has doubled" if lost else None

    def _measure(self, rate: float) -> None:
        losses = self._measured.losses(self._live.model, check_interrupt)
        self._points.append(Point(rate, losses))


@contextmanager
def _nothing_stays(folder: RunFolder) -> Iterator[None]:
    """The folder is gone in the end, whatever ends it; that of a killed process goes with the next one."""
    try:
        yield
    finally:
        try:
            remove_folder(inside(folder.path, folder.root))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("LoRA Loop: %s could not be removed: %s", folder.path, error)


def _plot(curves: Sequence[Sequence[Point]], found: Suggestion) -> np.ndarray:
    lines = []
    for number, (start, *points) in enumerate(curves, 1):
        made = [(p.rate, Measurement.compare(0, start.losses, p.losses)) for p in points]
        heights = [(rate, one.difference) for rate, one in made]
        errors = [QUANTILE_95 * one.error for _, one in made]
        lines.append(Line(f"training {number}", heights, errors))
    title = f"held-out difference by learning rate; suggested: {found.rate:.2g}"
    return draw_lines(lines, title, logarithmic=True, mark=found.rate)


def _report(
    curves: Sequence[Sequence[Point]], found: Suggestion, config: TrainConfig, seconds: float
) -> str:
    """The suggestion, what it was seen on, how it was made, and what it cost."""
    steps, measured = config.steps, len(curves[0][0].losses)
    first, last = (learning_rate(config.optimiser, step, steps) for step in (0, steps - 1))
    lines = [
        f"suggested learning rate: {found.rate:.3g} (90 % of the bootstrap: {found.low:.3g} to {found.high:.3g})",
        f"lowest held-out difference: {found.lowest}, at {found.lowest_at:.3g}",
        f"no divergence up to {last:.3g}"
        if found.diverged_at is None
        else f"diverges from {found.diverged_at:.3g} on: the held-out loss is above the start",
    ]
    if found.still_falls:
        lines.append(
            "The loss still fell fastest at the end of what was tried: a higher rate may be better. Give a "
            "higher highest."
        )
    lines.append(
        f"How it was made: {len(curves)} short training(s) of {steps} {config.optimiser.type} steps, batch "
        f"{config.batch_size}, rank {config.lora.rank}, the rate rising in equal ratios from {first:.3g} to "
        f"{last:.3g}; the held-out loss is the mean of {measured} measurements with the same noise at every "
        "point, less that at the start. The suggestion is the rate at which it falls fastest over the logarithm "
        "of the rate, before it is lowest; the bootstrap draws trainings and measurements anew. It is a rate to "
        "begin with: a long training often takes less."
    )
    if len(curves) == 1:
        lines.append("One training: the spread over seeds is not in the bounds.")
    forwards = sum(len(curve) * measured for curve in curves)
    lines.append(
        f"Cost: {seconds:.0f} s for {len(curves) * steps} steps at most and {forwards} measurements."
    )
    return "\n".join(lines)
