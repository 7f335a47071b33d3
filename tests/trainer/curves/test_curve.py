"""The curve that a page draws, from the table of steps."""

import math

import pytest

from pack.trainer.curves.curve import read_curve
from pack.trainer.curves.step_table import COLUMNS, NAME, StepTable


def write(folder, rows):
    table = StepTable(folder / NAME, 0)
    for row in rows:
        table.write({**dict.fromkeys(COLUMNS), **row})


def test_every_step_of_a_short_run(tmp_path):
    loss = [0.5, math.nan, 0.25]
    rows = [
        {"step": n, "loss": value, "smoothed_loss": 0.4, "learning_rate": 1e-4, "steps_per_second": 4.0}
        for n, value in enumerate(loss, start=1)
    ]  # fmt: skip
    rows[2]["validation_difference"] = -0.125
    write(tmp_path, rows)
    assert read_curve(tmp_path) == {
        "steps": [1, 2, 3],
        "seconds": [0.25, 0.5, 0.75],
        "loss": [0.5, None, 0.25],
        "smoothed": [0.4, 0.4, 0.4],
        "rate": [1e-4, 1e-4, 1e-4],
        "difference": [None, None, -0.125],
    }


@pytest.mark.parametrize("count", [9, 10, 11, 10_000])
def test_a_long_one_is_thinned_out_but_keeps_its_ends_and_validations(tmp_path, count):
    rows = [{"step": n, "loss": float(n), "steps_per_second": 2.0} for n in range(1, count + 1)]
    for row in rows[2::1000]:
        row["validation_difference"] = 0.0
    write(tmp_path, rows)
    curve = read_curve(tmp_path, most=10)
    steps = curve["steps"]
    assert len(steps) <= 10 + 2 + count // 1000 and steps == sorted(set(steps))
    assert steps[0] == 1 and steps[-1] == count and 3 in steps
    assert curve["loss"] == [float(step) for step in steps]
    assert curve["seconds"] == [step / 2 for step in steps]


def test_where_there_is_no_table_there_is_no_curve(tmp_path):
    assert set(map(len, read_curve(tmp_path).values())) == {0}
    (tmp_path / NAME).write_bytes(b"\xff\x00 no table\n1,2\n")
    assert set(map(len, read_curve(tmp_path).values())) == {0}
