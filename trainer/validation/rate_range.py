"""The learning-rate range test: a short training at a rising rate, and where the held-out loss falls fastest.

After Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), but judged by a loss without
noise: the held-out images with the same noise and timesteps at every point.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..config.optimisers import OWN_RATE
from ..config.train import TrainConfig
from ..config.validation import ValidationConfig
from ..curves.measurement import QUANTILE_95, Measurement

POINTS = 20
"""Of a curve, beside the start."""
DRAWS = 200
"""Of the bootstrap."""
MEASUREMENTS = 24
"""At a point, about, where no validation settings say otherwise: images times timesteps."""
_MOST_PICTURES, _FEWEST_TIMESTEPS, _MOST_TIMESTEPS = 6, 4, 8


class Point(NamedTuple):
    """What was measured after the steps up to this learning rate; 0 is the start.

    ``losses``: of every held-out image at each of its timesteps.
    """

    rate: float
    losses: Sequence[float]


class Suggestion(NamedTuple):
    """What the curves say. rate: of the steepest descent; low, high: where 90 % of the bootstrap's lie."""

    rate: float
    low: float
    high: float
    lowest: Measurement
    """At the rate where the loss was lowest, against the start; its step is the place of the point."""
    lowest_at: float
    diverged_at: float | None
    """The first rate at which the loss was above the start for certain, or not finite; None: there was none."""
    still_falls: bool
    """Whether the steepest descent is at the end of what was tried."""


def rates(lowest: float, highest: float, steps: int) -> list[float]:
    """The learning rate of each step, in equal ratios."""
    return [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]


def measured_at(steps: int) -> list[int]:
    """The steps that are followed by a measurement, the last one among them."""
    return sorted({round(steps * place / POINTS) for place in range(1, POINTS + 1)} - {0})


def rising(config: TrainConfig, pictures: int, lowest: float, highest: float) -> TrainConfig:
    """The config of the short training: its learning rate rises from one to the other over its steps.

    Where nothing is held out, some of ``pictures`` images are. Text encoders keep their share of the rate.

    Raises:
        ValueError: the optimiser follows no schedule, the bounds are none, or there is no image to hold out.
    """
    optimiser = config.optimiser
    if optimiser.finds_rate or optimiser.type in OWN_RATE or not optimiser.follows_schedule:
        raise ValueError(
            f"Find Learning Rate: {optimiser.type} finds or keeps its learning rate itself; choose another "
            "optimiser, or set its usual rate (1 for Prodigy and D-Adaptation)."
        )
    if not lowest < highest:
        raise ValueError(
            f"Find Learning Rate: lowest is {lowest:g} and highest {highest:g}; lowest must be below highest"
        )
    rules = [f"{rate / highest!r}" for rate in rates(lowest, highest, config.steps)]
    pieces = ",".join(f"{rule}:{step}" for step, rule in enumerate(rules, 1))
    scale = highest / optimiser.learning_rate
    schedule = dataclasses.replace(
        optimiser,
        learning_rate=highest,
        text_encoder_1_rate=optimiser.text_encoder_1_rate * scale,
        text_encoder_2_rate=optimiser.text_encoder_2_rate * scale,
        schedule="piecewise_constant",
        step_rules=f"{pieces},{rules[-1]}",
        warmup=0.0,
        ema_decay=0.0,
    )
    held_out = _held_out(config.validation, pictures)
    return dataclasses.replace(config, optimiser=schedule, validation=held_out, epochs=0)


def _held_out(given: ValidationConfig, pictures: int) -> ValidationConfig:
    if given.held_out:
        return dataclasses.replace(given, patience=0, keep_best=False)
    if pictures < 2:
        raise ValueError(
            "Find Learning Rate holds images out to measure on: give it two images or more"
        )
    count = max(1, min(_MOST_PICTURES, pictures // 4))
    parts = min(_MOST_TIMESTEPS, max(_FEWEST_TIMESTEPS, MEASUREMENTS // count))
    return dataclasses.replace(given, held_out=count, timesteps=parts)


def is_lost(start: Sequence[float], now: Sequence[float]) -> bool:
    """Whether going on is of no use: the loss has doubled, or is not finite."""
    return not statistics.fmean(now) < 2 * statistics.fmean(start)


def suggest(curves: Sequence[Sequence[Point]]) -> Suggestion:
    """The rate of the steepest descent of the mean curve over the logarithm of the rate, before its lowest point.

    ``curves``: one for each repetition with other seeds, each beginning with the start; points that not all
    have are passed over. The bounds are those of a bootstrap over repetitions and over measurements.

    Raises:
        ValueError: the loss did not fall for certain at any rate.
    """
    length = min(map(len, curves))
    names = [point.rate for point in curves[0][:length]]
    losses = np.array([[point.losses for point in curve[:length]] for curve in curves])
    changes = losses - losses[:, :1]  # repetition, point, measurement
    means = _mean_curve(changes)
    lowest = int(means.argmin())
    measured = _at(changes, lowest)
    if lowest < 2 or not (_fell(changes, lowest - 1) and _fell(changes, lowest)):
        raise ValueError(
            f"Find Learning Rate: the held-out loss did not fall for certain between {names[1]:g} and "
            f"{names[-1]:g} (lowest: {measured} at {names[lowest]:g}). Give a higher highest or more steps; if it "
            "rises at once, a lower lowest."
        )
    logs = np.log(
        [names[1] ** 2 / names[2], *names[1:]]
    )  # the start counts as a ratio below the first
    steepest = _steepest(logs, means)
    found = sorted(names[place] for place in _bootstrap(logs, changes))
    tail = len(found) // 20
    return Suggestion(
        names[steepest],
        min(found[tail], names[steepest]),
        max(found[-1 - tail], names[steepest]),
        measured,
        names[lowest],
        _diverged(curves, lowest),
        steepest >= length - 2,
    )


def _at(changes: np.ndarray, place: int) -> Measurement:
    """The change at a point, over measurements, each a mean of repetitions."""
    here = changes[:, place].mean(0).tolist()
    return Measurement.compare(place, [0.0] * len(here), here)


def _fell(changes: np.ndarray, place: int) -> bool:
    """Whether a point is below the start by Student's t at 95 %.

    The lowest of many points may be by chance, and hardly the one before it too.
    """
    now = _at(changes, place)
    return now.difference + QUANTILE_95 * now.error < 0


def _mean_curve(changes: np.ndarray) -> np.ndarray:
    """The mean change of each point; what is not finite counts as infinitely bad."""
    means = changes.mean((0, 2))
    return np.where(np.isfinite(means), means, np.inf)


def _steepest(logs: np.ndarray, means: np.ndarray) -> int:
    """The place of the steepest descent over the two intervals beside it, up to the lowest point."""
    last = max(2, int(means.argmin()))
    slopes = (means[2 : last + 1] - means[: last - 1]) / (logs[2 : last + 1] - logs[: last - 1])
    return 1 + int(slopes.argmin())


def _bootstrap(logs: np.ndarray, changes: np.ndarray) -> list[int]:
    """The places suggested by repetitions and measurements drawn with replacement."""
    draw = np.random.default_rng(0)
    repeats, _, count = changes.shape
    found = []
    for _ in range(DRAWS):
        curves = changes[draw.integers(repeats, size=repeats)]
        drawn = curves[:, :, draw.integers(count, size=count)]
        found.append(_steepest(logs, _mean_curve(drawn)))
    return found


def _diverged(curves: Sequence[Sequence[Point]], lowest: int) -> float | None:
    """The first rate behind the lowest point at which one of the curves is above its start for certain."""
    found = []
    for curve in curves:
        for point in curve[lowest + 1 :]:
            now = Measurement.compare(0, curve[0].losses, point.losses)
            if not now.difference - QUANTILE_95 * now.error <= 0:
                found.append(point.rate)
                break
    return min(found, default=None)
