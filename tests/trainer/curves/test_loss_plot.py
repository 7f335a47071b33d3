import itertools
import math

import numpy as np
import pytest

from pack.trainer.curves.loss_plot import (
    BACKGROUND,
    RAW,
    SMOOTH,
    TEXT,
    TIMESTEP,
    VALIDATION,
    draw_loss,
    frame,
)
from pack.trainer.curves.measurement import Measurement
from pack.trainer.curves.smoothing import smooth


def where(picture, colour):
    """Rows and columns of the pixels of one colour."""
    return np.nonzero((picture == np.array(colour, dtype=np.uint8)).all(-1))


def test_smoothing_is_a_bias_corrected_moving_average():
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    found = smooth(values, 4)
    for end in range(1, 6):
        weights = [0.75 ** (end - 1 - i) for i in range(end)]
        expected = sum(w * v for w, v in zip(weights, values[:end], strict=True)) / sum(weights)
        assert found[end - 1] == pytest.approx(expected)
    assert smooth(values, 1) == values
    assert smooth([2.0] * 5, 3) == pytest.approx([2.0] * 5)


def test_smoothing_passes_over_what_is_not_finite():
    found = smooth([math.nan, 2.0, math.inf, 2.0], 3)
    assert math.isnan(found[0]) and found[1:] == pytest.approx([2.0] * 3)


def test_the_picture_has_the_asked_size_and_both_curves():
    picture = draw_loss([1 / (1 + step) for step in range(50)], 640, 300)
    assert picture.shape == (300, 640, 3) and picture.dtype == np.uint8
    for colour in (RAW, SMOOTH):
        assert len(where(picture, colour)[0]) > 100
    assert len(where(picture, BACKGROUND)[0]) > 640 * 300 / 2


def test_the_curve_falls_and_stays_inside_the_frame():
    picture = draw_loss([1.0 - step / 100 for step in range(100)], 640, 300)
    rows, columns = where(picture, SMOOTH)
    room = frame(640)
    assert columns.min() >= room.left - 3 and columns.max() <= 640 - room.right + 3
    assert rows.min() >= room.top - 3 and rows.max() <= 300 - room.bottom + 3
    left, right = rows[columns < 200].mean(), rows[columns > 450].mean()
    assert right > left + 100


def test_the_letters_can_be_read_where_the_plot_is_a_third_as_large():
    assert frame(1024).text >= 36 and frame(300).text >= 12
    picture = draw_loss([1.0 - step / 100 for step in range(100)], 1024, 512)
    rows, _ = where(picture[: frame(1024).top], TEXT)
    assert np.ptp(rows) >= 24


def test_one_spike_does_not_flatten_the_curve():
    losses = [0.1 + 0.05 * math.sin(step / 10) for step in range(300)]
    losses[150] = 1000.0
    rows, _ = where(draw_loss(losses, 640, 300), SMOOTH)
    assert rows.max() - rows.min() > 50


@pytest.mark.parametrize(
    "losses",
    [
        [0.5],
        [0.0, 0.0],
        [0.3] * 9,
        [math.nan, 0.2, 0.1],
        [0.2, 0.1, math.inf],
        [0.2, math.nan, 0.1],
    ],
)
def test_odd_curves_are_drawn(losses):
    picture = draw_loss(losses)
    assert picture.shape == (512, 1024, 3)
    assert len(where(picture, SMOOTH)[0]) > 0


@pytest.mark.parametrize("losses", [[], [math.nan], [math.inf, math.nan]])
def test_nothing_to_draw_is_told(losses):
    with pytest.raises(ValueError, match="no finite loss"):
        draw_loss(losses)


def test_validations_stand_at_their_steps_with_their_intervals():
    losses = [0.1] * 101
    found = [Measurement(26, -0.5, 0.0), Measurement(51, -1.0, 0.1), Measurement(76, 0.5, 0.0)]
    room = frame(490)
    assert 490 - room.left - room.right == 400
    height = 200 + room.top + room.bottom
    rows, columns = where(draw_loss(losses, 490, height, found), VALIDATION)
    scale = 4 * room.text  # it is written at the right, and the title above
    inside = (columns < 490 - room.right - scale) & (rows >= room.top - 3)
    rows, columns = rows[inside], columns[inside]
    assert (columns.min(), columns.max()) == (room.left + 100 - 3, room.left + 300 + 3)
    high, low = 0.5, -1.0 - 1.96 * 0.1

    def row(value):
        return room.top + 200 * (high - value) / (high - low)

    middle = rows[columns == room.left + 200]
    assert middle.max() == pytest.approx(row(low), abs=2)
    assert middle.min() == pytest.approx(row(-1.0 + 1.96 * 0.1), abs=2)
    assert rows[columns == room.left + 300].min() == pytest.approx(row(0.5), abs=4)


@pytest.mark.parametrize(
    "found", [[Measurement(1, 0.0, 0.0)], [Measurement(1, math.nan, math.nan)]]
)
def test_odd_validations_are_drawn(found):
    picture = draw_loss([0.5, 0.4], validations=found)
    assert bool(len(where(picture, VALIDATION)[0])) is math.isfinite(found[0].difference)


def test_the_bars_of_timesteps_are_as_high_as_their_counts():
    losses = [1.0 - step / 100 for step in range(100)]
    assert not len(where(draw_loss(losses), TIMESTEP)[0])
    rows, columns = where(draw_loss(losses, timesteps=[0, 10, 40, 20]), TIMESTEP)
    edges = np.linspace(columns.min(), columns.max() + 1, 4).round().astype(int)
    heights = [
        len({*rows[(columns >= low) & (columns < high - 1)]})
        for low, high in itertools.pairwise(edges)
    ]
    assert heights[0] / heights[1] == pytest.approx(0.25, abs=0.05)
    assert heights[2] / heights[1] == pytest.approx(0.5, abs=0.05)
