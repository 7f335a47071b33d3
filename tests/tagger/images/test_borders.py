import random

import numpy as np
import pytest

from pack.demo import drawings, flaws
from pack.demo.pictures import photograph
from pack.tagger.images.borders import Bars, find_bars

NONE = Bars(0, 0, 0, 0)


def framed(picture, left, top, right, bottom, colour=(0, 0, 0)):
    height, width = picture.shape[:2]
    canvas = np.full((height + top + bottom, width + left + right, 3), colour, np.uint8)
    canvas[top : top + height, left : left + width] = picture
    return canvas


@pytest.mark.parametrize(
    "sides", [(0, 40, 0, 40), (30, 0, 36, 0), (25, 60, 25, 50), (0, 3, 0, 3), (0, 200, 0, 100)]
)
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
def test_bars_are_found_to_the_pixel(sides, colour):
    picture = photograph("coffee.png")
    assert find_bars(framed(picture, *sides, colour)) == Bars(*sides)


def test_jpeg_and_grain_move_an_edge_by_no_more_than_its_ringing():
    sides = (0, 64, 0, 64)
    for made in (
        flaws.jpeg(framed(photograph("coffee.png"), *sides), 50),
        flaws.noisy(framed(photograph("coffee.png"), *sides, (90, 90, 90)), 4, seed=1),
    ):
        found = find_bars(made)
        assert (found.left, found.right) == (0, 0)
        assert abs(found.top - 64) <= 8 and abs(found.bottom - 64) <= 8


def test_a_figure_on_white_has_none():
    for seed in range(6):
        page = drawings.drawing(seed, scenery="white")
        assert find_bars(framed(page, 40, 40, 40, 40, (255, 255, 255))) == NONE


def test_what_is_not_straight_abrupt_or_on_both_sides_is_none():
    picture = photograph("coffee.png")
    assert find_bars(picture) == NONE
    assert find_bars(flaws.vignetted(picture, 0.9)) == NONE
    assert find_bars(framed(picture, 0, 50, 0, 0)) == NONE
    assert find_bars(framed(picture, 0, 2, 0, 2)) == NONE, "thinner than an edge"
    fade = framed(picture, 0, 50, 0, 50).astype(np.float32)
    for step in range(60):  # not abrupt
        fade[50 + step] *= step / 60
        fade[-51 - step] *= step / 60
    assert find_bars(fade.astype(np.uint8)) == NONE
    wedge = framed(picture, 0, 50, 0, 50)
    for column in range(wedge.shape[1]):  # not straight
        wedge[: 50 + column // 4, column] = 0
    assert find_bars(wedge) == NONE
    two = framed(framed(picture, 0, 50, 0, 0), 0, 0, 0, 50, (255, 255, 255))
    assert find_bars(two) == NONE, "not of one colour"


def test_nothing_but_ground_has_none():
    assert find_bars(np.zeros((50, 60, 3), np.uint8)) == NONE
    dot = np.zeros((500, 500, 3), np.uint8)
    dot[240:260, 240:260] = 255
    assert find_bars(dot) == NONE
    assert find_bars(np.zeros((1, 1, 3), np.uint8)) == NONE
    strip = framed(photograph("coffee.png")[200:240], 0, 200, 0, 200)
    assert find_bars(strip) == NONE


def test_a_frame_shows_at_its_sides_too():
    """The edge above a narrow image is short: its length counts, not that of the canvas."""
    narrow = framed(photograph("coffee.png"), 400, 50, 400, 50)
    assert find_bars(narrow) == Bars(400, 50, 400, 50)


def test_the_share_is_of_the_area():
    assert Bars(10, 0, 10, 0).share(100, 50) == pytest.approx(0.2)
    assert Bars(10, 5, 10, 5).share(100, 50) == pytest.approx(1 - 80 * 40 / 5000)
    draw = random.Random(3)
    picture = flaws.framed(photograph("coffee.png"), (0, 0, 0), draw, "all")
    share = find_bars(picture).share(picture.shape[1], picture.shape[0])
    assert share == pytest.approx(1 - 600 * 400 / (picture.shape[0] * picture.shape[1]))
