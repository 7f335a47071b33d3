"""What a sweep found: a table of its runs, how it was made, and whether settings differ by more than seeds do."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from ..config.train import TrainConfig
from ..curves.measurement import QUANTILE_95, Measurement
from ..curves.overlay import Line
from ..curves.smoothing import SPAN, smooth
from ..runs.sweep import differences
from .significance import ERROR, contrasts, spread_over_seeds

HOW = (
    "Held-out difference: the loss of the held-out images at each run's best step less that at step 0, with the "
    "same noise and timesteps every time; below 0 is better. ± is the 95 % interval over images, or over the "
    "timesteps of one image where only one is held out."
)
CHOSEN = (
    "The difference of a run is the lowest of its validations, and the best run has the lowest of all: both are "
    "chosen on the images that they are reported on, so they look a little better than on new images."
)
NOTHING_CHOSEN = "The LoRA given out is that of the last run: nothing was chosen."
NO_HELD_OUT = (
    "There is no held-out loss, so it cannot be said which setting is better: the training loss is mostly the "
    "noise of the drawn timesteps. Connect Validation Settings to Train, with held_out above 0, and queue again."
)
ONE_SEED = "One seed each: whether settings differ by more than two seeds do cannot be told. Give Sweep two seeds or more."
APART = 0.05
"""Of a loss: beyond it, losses at step 0 are of other images or another start. Rounding stays far below."""
_COLUMNS = "setting | seed | steps | best step | held-out difference | last loss, smoothed"


class Trial(NamedTuple):
    """One run of a sweep. setting: what sets it apart from the others, seeds aside."""

    setting: str
    seed: int
    losses: Sequence[float]
    validations: Sequence[Measurement]

    @property
    def best(self) -> Measurement | None:
        """The validation of the lowest finite difference."""
        finite = [one for one in self.validations if math.isfinite(one.difference)]
        return min(finite, key=lambda one: one.difference, default=None)


def trials(
    runs: Sequence[tuple[TrainConfig, Sequence[float], Sequence[Measurement]]],
) -> list[Trial]:
    """Trials of runs, each given as its config, the loss of every step, and its validations.

    Raises ValueError where the held-out losses are not of the same images, noise and kind of loss.
    """
    measures = {
        (v.held_out, v.seed, v.timesteps, v.max_pictures, config.loss)
        for config, _, found in runs
        if found
        for v in [config.validation]
    }
    if len(measures) > 1:
        raise ValueError(
            "The held-out losses of these runs cannot be compared: Validation Settings (held_out, seed, timesteps, "
            "max_pictures) or Noise and Loss Settings differ. Give all runs the same."
        )
    names = differences([config for config, _, _ in runs])
    return [
        Trial(name, config.seed, losses, found)
        for name, (config, losses, found) in zip(names, runs, strict=True)
    ]


def distinct(configs: Sequence[TrainConfig]) -> list[int]:
    """The places of runs of which no earlier one has the same setting and seed: such are one run, not two seeds."""
    first: dict[tuple[str, int], int] = {}
    for place, (name, config) in enumerate(zip(differences(configs), configs, strict=True)):
        first.setdefault((name, config.seed), place)
    return list(first.values())


def check_same_start(starts: Sequence[Sequence[float]]) -> None:
    """Look at the held-out losses that runs had at step 0; those without any, or not finite, aside.

    Raises ValueError where they are not of as many images, or apart by more than `APART` on average: the runs
    held out other images, or began from another model or LoRA, so that differences to step 0 say nothing.
    """
    finite = [start for start in starts if start and all(map(math.isfinite, start))]
    for other in finite[1:]:
        how = _unlike(finite[0], other)
        if how:
            raise ValueError(
                f"The held-out losses of these runs cannot be compared: at step 0 they are {how}, so other "
                "images were held out, or the runs began from another model or LoRA. Give all runs the same "
                "cache, MODEL and start."
            )


def _unlike(first: Sequence[float], other: Sequence[float]) -> str:
    """How losses at step 0 differ, in words; "" where they are alike."""
    if len(other) != len(first):
        return "not of as many images"
    apart, whole = sum(abs(a - b) for a, b in zip(first, other, strict=True)), sum(first)
    if apart <= APART * whole:
        return ""
    return f"apart by {100 * apart / whole:.0f} %" if whole else "0 in one run and not in another"


def best_run(found: Sequence[Trial]) -> int:
    """The place of the run with the lowest held-out difference; of the last one where nothing is held out."""
    held = {place: trial.best.difference for place, trial in enumerate(found) if trial.best}
    return min(held, key=lambda place: held[place], default=len(found) - 1)


def report(found: Sequence[Trial]) -> str:
    """The table, a line for each setting with several seeds, how it was made, and the note."""
    values = _by_setting(found)
    head = f"{_counted(len(found), 'run')} of {_counted(len(values), 'setting')}"
    lines = [head, "", _COLUMNS, *map(_row, found)]
    several = [(name, held) for name, held in values.items() if len(held) > 1]
    if several:
        lines += ["", "setting | seeds | held-out difference, mean | standard deviation over seeds"]
        lines += [
            f"{name} | {len(held)} | {statistics.fmean(held):+.5f} | {statistics.stdev(held):.5f}"
            for name, held in several
        ]
    return "\n".join([*lines, "", *([HOW, CHOSEN] if any(values.values()) else []), note(found)])


def note(found: Sequence[Trial]) -> str:
    """Whether the differences between settings are larger than those between seeds, with the numbers."""
    values = _by_setting(found)
    lost = [t for t in found if t.validations and t.best is None]
    said = []
    if lost:
        said.append(f"Left out, without a finite held-out loss: {_counted(len(lost), 'run')}.")
    if not any(values.values()):
        return "\n".join([*said, NO_HELD_OUT])
    if min(held for found in values.values() for held in found) >= 0:
        said.append("None is better than the MODEL alone: no difference to step 0 is below 0.")
    if len(values) < 2:
        return "\n".join([*said, "There is one setting only: nothing to compare it with."])
    spread = spread_over_seeds(values)
    if not spread.freedom:
        return "\n".join([*said, ONE_SEED])
    best = min((name for name in values if values[name]), key=lambda n: statistics.fmean(values[n]))
    said.append(
        f"Between seeds of one setting the held-out difference varies by {spread.deviation:.5f} (standard "
        f"deviation, {spread.freedom} degrees of freedom). {best} is lowest on average."
    )
    for pair in contrasts(values):
        if pair.better == best:
            verdict = "larger than" if pair.is_real else "no larger than what may be"
            said.append(
                f"Against {pair.worse}: {pair.apart:.5f}, {verdict} the difference between seeds (chance "
                f"{percent(pair.chance)})."
            )
    said.append(
        f"Chance: how often seeds alone bring two equal settings so far apart, by Student's t over all pairs; below "
        f"{100 * ERROR:g} % counts as larger."
    )
    return "\n".join(said)


def lines_of(found: Sequence[Trial]) -> tuple[list[Line], str]:
    """The curves to draw over each other, and what they are: held-out differences, else smoothed losses."""
    if any(trial.validations for trial in found):
        return [*map(_curve, found)], "held-out loss since step 0; bars: 95 %"
    smoothed = (
        Line(trial.setting, list(enumerate(smooth(trial.losses, SPAN), 1))) for trial in found
    )
    return list(smoothed), "training loss, smoothed, by step (nothing was held out)"


def _curve(trial: Trial) -> Line:
    """From step 0 on, where the difference to it is 0."""
    made = trial.validations
    if made and made[0].step:
        made = [Measurement(0, 0.0, 0.0), *made]
    points = [(one.step, one.difference) for one in made]
    return Line(trial.setting, points, [QUANTILE_95 * one.error for one in made])


def percent(chance: float) -> str:
    """A chance, with as many digits as it takes not to look like the bound that it is not."""
    digits = next((n for n in (2, 3, 4) if float(f"{chance:.{n}g}") != ERROR), 5)
    return f"{100 * chance:.{digits}g} %"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _by_setting(found: Sequence[Trial]) -> dict[str, list[float]]:
    """The held-out difference of each run at its best step, where there is one, by setting."""
    values: dict[str, list[float]] = {trial.setting: [] for trial in found}
    for trial in found:
        if trial.best is not None:
            values[trial.setting].append(trial.best.difference)
    return values


def _row(trial: Trial) -> str:
    best, last = trial.best, smooth(trial.losses, SPAN)[-1]
    held = "none | none" if best is None else f"{best.step} | {best}"
    return f"{trial.setting} | {trial.seed} | {len(trial.losses)} | {held} | {last:.4f}"
