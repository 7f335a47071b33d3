import math

import numpy as np
import pytest

from pack.trainer.curves.loss_plot import BACKGROUND
from pack.trainer.curves.overlay import COLOURS, MOST_NAMES, ZERO, Line, draw_lines


def where(picture, colour):
    """Rows and columns of the pixels of one colour."""
    return np.nonzero((picture == np.array(colour, dtype=np.uint8)).all(-1))


def test_each_name_has_its_colour_and_its_line_of_the_legend():
    lines = [
        Line("low", [(0, 0.0), (10, -1.0)]),
        Line("high", [(0, 0.0), (10, 1.0)], [0.1, 0.1]),
        Line("low", [(0, 0.0), (10, -0.9)]),
    ]
    picture = draw_lines(lines, "a title", 600, 300)
    assert picture.shape[1] == 600 and picture.shape[0] > 300
    rows = [where(picture[:300], colour)[0] for colour in COLOURS[:3]]
    assert rows[0].max() > rows[1].max() and rows[1].min() < rows[0].min()
    assert not len(rows[2])
    assert all(len(where(picture[300:], colour)[0]) for colour in COLOURS[:2])


def test_a_logarithmic_axis_puts_decades_at_equal_distances():
    picture = draw_lines([Line("a", [(1e-6, 0.0), (1e-4, 1.0), (1e-2, 0.0)])], "", logarithmic=True)
    rows, columns = where(picture[:512], COLOURS[0])
    top = columns[rows == rows.min()].mean()
    assert top == pytest.approx((columns.min() + columns.max()) / 2, abs=2)


def test_what_is_not_finite_is_left_out_and_a_runaway_does_not_flatten_the_rest():
    quiet = [(x, math.sin(x)) for x in range(40)]
    picture = draw_lines([Line("a", [*quiet, (40, math.nan)]), Line("b", [(39, 1e9)])], "")
    rows, _ = where(picture[:512], COLOURS[0])
    assert rows.max() - rows.min() > 80
    rows, columns = where(picture[:512], COLOURS[1])  # an arrow, and "up to 1e+09" on its left
    assert columns.max() - columns.min() > 150 and rows.max() - rows.min() < 60
    below = draw_lines([Line("a", quiet), Line("b", [(0, -1e9)])], "")
    assert where(below[:512], COLOURS[1])[0].min() > where(below[:512], COLOURS[0])[0].mean()
    with pytest.raises(ValueError, match="no finite"):
        draw_lines([Line("a", [(1, math.inf)])], "")


def test_there_is_a_line_at_0_and_room_below_the_legend():
    picture = draw_lines([Line("lowest yjg", [(0, -1.0), (10, 1.0)])], "")
    rows, columns = where(picture, ZERO)
    assert len(set(rows)) == 2 and columns.max() - columns.min() > 800
    assert (picture[-8:] == np.array(BACKGROUND, dtype=np.uint8)).all()
    assert not len(where(draw_lines([Line("a", [(0, 1.0), (10, 2.0)])], ""), ZERO)[0])


def test_a_long_legend_ends_with_how_many_there_are_more():
    few, many = (
        draw_lines([Line(str(n), [(0, n), (1, n)]) for n in range(count)], "")
        for count in (MOST_NAMES, MOST_NAMES + 30)
    )
    assert few.shape == many.shape
