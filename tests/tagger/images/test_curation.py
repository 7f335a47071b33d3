"""Each check on labelled images whose sources its threshold was not chosen on."""

import re

import pytest

from pack.bench import curation as bench
from pack.demo import curation
from pack.tagger import CurateConfig

LEAST_PRECISION = 0.9
"""A check below it must be switched off by default."""


@pytest.fixture(scope="module")
def verdicts():
    return bench.verdicts("held out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "least_recall"),
    [
        ("near duplicates", 0.9),
        ("blurred", 0.7),
        ("too small", 1.0),
        ("extreme aspect", 1.0),
        ("borders", 0.9),
    ],
)
def test_a_check_that_is_on_is_right(verdicts, check, least_recall):
    score = bench.score(verdicts[check])
    assert score.hits + score.misses + score.false_alarms + score.fine >= 100
    assert min(score.hits + score.misses, score.false_alarms + score.fine) >= 40
    assert score.precision >= LEAST_PRECISION
    assert score.recall >= least_recall
    assert getattr(CurateConfig(), check.replace(" ", "_")) != "off"


@pytest.mark.slow
def test_the_page_says_what_is_measured(verdicts, root):
    text = (root / "docs" / "curation.md").read_text("utf-8")
    for check, given in verdicts.items():
        (row,) = re.findall(rf"^\| {check} \| \d+ .*\| ([\d.]+) \| ([\d.]+) \|$", text, re.M)
        score = bench.score(given)
        # A decoder of another version may turn a borderline image.
        assert [float(cell) for cell in row] == pytest.approx(
            [score.precision, score.recall], abs=0.03
        )


def test_the_halves_share_no_source():
    tuning, held_out = (
        {name for name, _ in curation.sources(half)} for half in ("tuning", "held out")
    )
    assert tuning.isdisjoint(held_out) and len(tuning) == len(held_out) == 26


def test_scores_are_counted():
    kinds = [(True, True)] * 3 + [(True, False)] * 2 + [(False, True)] + [(False, False)] * 4
    score = bench.score([bench.Verdict("", *kind) for kind in kinds])
    assert score == (3, 2, 1, 4)
    assert (score.precision, score.recall) == (0.75, 0.6)
