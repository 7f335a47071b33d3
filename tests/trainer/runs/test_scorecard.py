"""What scores come to by step and strength: the spread, the best, and what is written down."""

import json
import math
import random
import statistics

import pytest

from pack.trainer.runs.scorecard import (
    NAME,
    Mean,
    Scorecard,
    ScoredPreview,
    read_scorecard,
    write_scorecard,
)

NONE = dict.fromkeys(("obedience", "recall", "leakage", "drift"))


def row(step, prompt, strength=1.0, is_base=False, **scores):
    return ScoredPreview(step, prompt, strength, {**NONE, **scores}, is_base)


def card(*rows, criterion="all"):
    return Scorecard(tuple(rows), "tagger", 0.35, criterion)


def test_a_mean_tells_its_spread():
    found = Mean.of([0.2, 0.4, 0.9])
    assert found.error == pytest.approx(statistics.stdev([0.2, 0.4, 0.9]) / math.sqrt(3))
    assert str(found) == "0.50 ± 0.90"  # Student's t for three: 4.303 standard errors of 0.208
    assert str(Mean.of([0.2])) == "0.20 (1 preview: spread unknown)"


def test_the_standard_error_is_that_of_repeated_draws():
    """On draws of a known spread: means of 8 lie apart as their standard errors say."""
    drawn = random.Random(0)
    means = [Mean.of([drawn.gauss(0.5, 0.1) for _ in range(8)]) for _ in range(2000)]
    spread = statistics.stdev(mean.value for mean in means)
    assert statistics.fmean(mean.error**2 for mean in means) == pytest.approx(spread**2, rel=0.1)


def test_groups_are_by_step_and_strength_without_the_base():
    found = card(
        row(0, 0, is_base=True, obedience=0.1),
        row(500, 0, obedience=1.0, recall=0.5),
        row(500, 1, obedience=0.5, drift=0.2),
        row(500, 0, 0.6, obedience=0.0),
    ).groups()
    assert [(group.step, group.strength) for group in found] == [(500, 0.6), (500, 1.0)]
    assert found[1].means["obedience"].value == 0.75 and found[1].means["obedience"].previews == 2
    assert found[1].means["drift"] == (0.2, None, 1)
    assert "leakage" not in found[1].means


def two_steps(criterion="all"):
    """Step 500 obeys and leaks, step 1000 does neither."""
    return card(
        row(500, 0, obedience=1.0, leakage=0.8), row(500, 1, obedience=1.0, leakage=0.9),
        row(1000, 0, obedience=0.5, leakage=0.0), row(1000, 1, obedience=0.6, leakage=0.0),
        criterion=criterion,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("criterion", "step", "total"),
    [("all", 1000, 0.775), ("obedience", 500, 1), ("leakage", 1000, 1)],
)
def test_the_best_step_is_that_of_the_criterion(criterion, step, total):
    best = two_steps(criterion).best()
    assert best.group.step == step and best.total.value == pytest.approx(total)
    assert best.alike == ()


def test_only_what_all_steps_have_is_compared():
    rows = [row(500, 0, obedience=0.5), row(1000, 0, obedience=0.4, recall=1.0)]
    best = card(*rows).best()
    assert best.scores == ("obedience",) and best.group.step == 500
    assert card(*rows, criterion="recall").best() is None
    assert card(row(0, 0, is_base=True, obedience=1.0)).best() is None


def test_of_equals_the_earlier_step_and_what_is_within_the_spread_is_said():
    rows = [
        row(step, n, obedience=value) for step in (500, 1000) for n, value in enumerate((0.4, 0.6))
    ]
    far = [row(1500, n, obedience=value) for n, value in enumerate((0.01, 0.02))]
    best = card(*far, *rows).best()
    assert best.group.step == 500
    assert [group.step for group in best.alike] == [1000]


def test_the_strength_is_that_of_the_step():
    rows = [
        row(step, n, strength, obedience=value)
        for step, values in {500: {0.6: 0.9, 1.0: 0.5}, 1000: {0.6: 0.2, 1.0: 0.8}}.items()
        for strength, value in values.items()
        for n in (0, 1)
    ]
    found = card(*rows)
    assert (found.strength(500), found.strength(1000), found.strength(1500)) == (0.6, 1.0, None)
    assert card(*(one for one in rows if one.strength == 1)).strength(500) is None


def test_leakage_is_at_one_strength_that_every_step_has():
    rows = [row(500, n, s, leakage=s / 2) for n in (0, 1) for s in (0.6, 0.8, 1.0)]
    rows += [row(1000, n, s, leakage=s) for n in (0, 1) for s in (0.6, 0.8)]
    assert card(*rows).leakage() == {500: {0: 0.4, 1: 0.4}, 1000: {0: 0.8, 1: 0.8}}
    assert card(*rows[:6]).leakage() == {500: {0: 0.5, 1: 0.5}}
    assert card(row(500, 0, obedience=1.0)).leakage() == {}


def test_it_is_read_as_it_was_written(tmp_path):
    found = two_steps("leakage")
    found = Scorecard(
        (*found.rows, row(0, 0)._replace(tags={"leaked": ["meadow"]})), "t", 0.3, "drift"
    )
    assert read_scorecard(tmp_path) is None
    write_scorecard(tmp_path, found, tmp_path)
    assert read_scorecard(tmp_path) == found


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(criterion="luck"),
        lambda data: data.update(threshold=-1),
        lambda data: data["rows"][0].update(step="1"),
        lambda data: data["rows"][0].update(strength=math.nan),
        lambda data: data["rows"][0]["scores"].update(recall=2),
        lambda data: data["rows"][0]["scores"].pop("drift"),
        lambda data: data["rows"][0].update(tags=[]),
        lambda data: data.pop("rows"),
    ],
)
def test_a_damaged_file_is_named_and_passed_over(tmp_path, change, caplog):
    write_scorecard(tmp_path, two_steps(), tmp_path)
    data = json.loads((tmp_path / NAME).read_text())
    change(data)
    (tmp_path / NAME).write_text(json.dumps(data))
    assert read_scorecard(tmp_path) is None
    assert NAME in caplog.text and "damaged" in caplog.text
