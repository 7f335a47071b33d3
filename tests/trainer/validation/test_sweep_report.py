"""The report of a sweep, on made-up runs of which it is known what it has to say."""

import dataclasses
import math
from functools import cache

import numpy as np
import pytest

from pack.trainer.config.loss import LossConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.curves.measurement import Measurement
from pack.trainer.curves.overlay import draw_lines
from pack.trainer.runs.sweep import swept
from pack.trainer.validation.sweep_report import (
    CHOSEN,
    NO_HELD_OUT,
    ONE_SEED,
    best_run,
    check_same_start,
    distinct,
    lines_of,
    note,
    percent,
    report,
    trials,
)

CASES = 200
NOISE = 0.002
"""Standard deviation of a run's held-out difference over seeds."""
VALIDATION = ValidationConfig(held_out=2, every=20)


@cache
def configs(rates, seeds):
    """Of a sweep of so many learning rates and seeds."""
    texts = ", ".join(f"{place}e-5" for place in range(1, rates + 1)), "", ", ".join("0123"[:seeds])
    return swept(TrainConfig(steps=60, validation=VALIDATION), *texts)


def runs(effects, rng, seeds=3):
    """Runs at one rate per effect: a held-out curve that falls to the effect and rises a little again."""
    found = []
    for config, effect in zip(configs(len(effects), seeds), np.repeat(effects, seeds), strict=True):
        low = effect + rng.normal(0, NOISE)
        curve = [(0, 0.0), (20, low / 2), (40, low), (60, low * 0.9)]
        validations = [Measurement(step, value, 0.001) for step, value in curve]
        found.append((config, tuple(0.1 + rng.normal(0, 0.02, 60)), validations))
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_the_note_says_what_is_true(count):
    """A setting that is better by five times the noise is found, and a difference that is noise is not."""
    rng = np.random.default_rng(count)
    found = missed = 0
    for _ in range(CASES):
        said = note(trials(runs([-0.03, *[-0.03 + 5 * NOISE] * (count - 1)], rng, seeds=4)))
        lowest = "learning_rate 1e-05 is lowest" in said
        found += lowest and said.count(" larger than the") == count - 1
        missed += " larger than the" not in note(trials(runs([-0.03] * count, rng, seeds=4)))
    assert found >= 0.95 * CASES
    assert missed >= 0.95 * CASES


def test_the_table_has_a_row_for_each_run_and_one_for_each_setting():
    found = trials(runs([-0.03, -0.01], np.random.default_rng(0), seeds=2))
    text = report(found)
    rows = [line for line in text.splitlines() if line.startswith("learning_rate")]
    assert len(rows) == 4 + 2 + 0
    name, seed, steps, best, held, _ = rows[0].split(" | ")
    assert (name, seed, steps, best) == ("learning_rate 1e-05", "0", "60", "40")
    assert held == str(found[0].best) and "±" in held
    assert best_run(found) == min(range(4), key=lambda place: found[place].best.difference)


def test_it_says_how_the_runs_were_chosen_and_when_none_is_any_good():
    rng = np.random.default_rng(0)
    text = report(trials(runs([-0.03], rng, seeds=1)))
    assert text.startswith("1 run of 1 setting\n") and CHOSEN in text
    assert "learning_rate 1e-05, rank " in text and "None is better" not in text
    assert "None is better than the MODEL alone" in report(trials(runs([0.05], rng)))


def test_a_chance_is_never_told_as_the_bound_that_it_is_not():
    assert [percent(chance) for chance in (0.0209, 0.0202, 0.0199, 0.5)] == [
        "2.1 %", "2.02 %", "1.99 %", "50 %",
    ]  # fmt: skip


def test_the_same_run_twice_is_one():
    first, second, third = configs(2, 2)[:3]
    assert distinct([first, second, first, third, second]) == [0, 1, 3]


def test_the_curves_begin_at_step_0():
    config, losses, found = runs([-0.03], np.random.default_rng(0), seeds=1)[0]
    (line,), _ = lines_of(trials([(config, losses, found[1:])]))
    assert line.points[0] == (0, 0.0) and line.errors[0] == 0.0
    assert [step for step, _ in line.points] == [0, 20, 40, 60]


def test_one_seed_each_tells_nothing():
    said = note(trials(runs([-0.03, -0.01], np.random.default_rng(0), seeds=1)))
    assert said == ONE_SEED


def test_without_held_out_images_it_says_how_to_have_some():
    given = [
        (config, losses, ()) for config, losses, _ in runs([0, 0], np.random.default_rng(0), 1)
    ]
    found = trials(given)
    assert NO_HELD_OUT in report(found)
    lines, title = lines_of(found)
    assert "nothing was held out" in title
    assert draw_lines(lines, title).shape[1:] == (1024, 3)


def test_a_run_that_ran_away_is_left_out_and_named():
    (first, second, *others) = runs([-0.03, -0.01], np.random.default_rng(0), seeds=3)
    config, losses, _ = first
    lost = config, losses, [Measurement(0, math.nan, math.nan)]
    said = report(trials([lost, second, *others]))
    assert "Left out" in said and "none | none" in said and "nan" not in said


def test_different_measures_are_not_compared():
    (config, losses, found), *others = runs([-0.03, -0.01], np.random.default_rng(0))
    for changed in (
        dataclasses.replace(config, loss=LossConfig(min_snr_gamma=5.0)),
        dataclasses.replace(config, validation=dataclasses.replace(VALIDATION, seed=1)),
    ):
        with pytest.raises(ValueError, match="cannot be compared"):
            trials([(changed, losses, found), *others])
    patient = dataclasses.replace(VALIDATION, patience=3, every=10)
    trials([(dataclasses.replace(config, validation=patient), losses, found), *others])


@pytest.mark.parametrize("other", [(0.1, 0.2), (0.1, 0.2, 0.4, 0.3), (0.106, 0.212, 0.318, 0.424)])
def test_runs_that_held_out_other_images_or_began_elsewhere_are_not_compared(other):
    start = (0.1, 0.2, 0.3, 0.4)
    with pytest.raises(ValueError, match="at step 0 they are"):
        check_same_start([(), start, other])
    check_same_start([(), start, (), tuple(value * 1.01 for value in start)])
    check_same_start([(), ()])


def test_losses_at_the_start_may_be_no_numbers_or_0():
    """A run that is not finite is left out of the report; it must not hide how the others differ."""
    spoilt, start, other = (math.nan, 0.2), (0.1, 0.2), (0.2, 0.4)
    check_same_start([spoilt, start, start, (math.inf, 0.2)])
    with pytest.raises(ValueError, match="apart by 100 %"):
        check_same_start([spoilt, start, other])
    check_same_start([(0.0, 0.0), (0.0, 0.0)])
    with pytest.raises(ValueError, match="0 in one run and not in another"):
        check_same_start([(0.0, 0.0), start])


def test_one_setting_has_nothing_to_be_compared_with():
    assert "one setting only" in note(trials(runs([-0.03], np.random.default_rng(0))))
