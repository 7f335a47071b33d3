"""The Lab test: on images made for one property each, and on the labelled set.

`python -m pytest -rP tests/tagger/images/test_chroma.py -k labelled` prints precision and recall.
"""

import sys

import numpy as np
import pytest
from PIL import Image

from pack.tagger import MonochromeConfig, examine
from pack.tagger.images.chroma import SIDE, measure_lab
from pack.tagger.images.monochrome import measure_hsv
from pack.tests.tagger.images.monochrome_set import (
    Drawing,
    hue_colour,
    jpeg,
    labelled,
    photo,
    scanned,
    sepia,
    toned,
)

LAB = MonochromeConfig(method="lab")
CHOSEN_ON, REPORTED_ON = 0, 1  # seeds
COUNT = 60  # images of each kind


def ramp():
    return np.repeat(np.tile(np.linspace(0, 255, 256), (256, 1))[:, :, None], 3, axis=2)


def verdict(rgb):
    return LAB.kind(measure_lab(np.clip(rgb + 0.5, 0, 255).astype(np.uint8)))


def scores(numbers, kinds, options):
    """Precision and recall of saying that an image has no colour, and the share of right kinds."""
    said = [options.kind(pair) for pair in numbers]
    lacking = [kind is not None for kind in kinds]
    found = [kind is not None for kind in said]
    hits = sum(a and b for a, b in zip(found, lacking, strict=True))
    right = sum(a == b for a, b in zip(said, kinds, strict=True))
    return hits / max(1, sum(found)), hits / sum(lacking), right / len(kinds)


@pytest.fixture(scope="module")
def measured():
    """By seed: the numbers of both methods and the true kind of each image."""
    table = {}
    for seed in (CHOSEN_ON, REPORTED_ON):
        pictures = list(labelled(seed, COUNT))
        lab = [measure_lab(pixels) for _, pixels, _ in pictures]
        hsv = [measure_hsv(pixels) for _, pixels, _ in pictures]
        table[seed] = lab, hsv, [kind for *_, kind in pictures]
    return table


@pytest.mark.slow
def test_the_labelled_set(measured):
    lab, hsv, kinds = measured[REPORTED_ON]
    for method, numbers in (("lab", lab), ("hsv", hsv)):
        precision, recall, right = scores(numbers, kinds, MonochromeConfig(method=method))
        sys.stdout.write(
            f"{method} on {len(kinds)} images that chose no threshold: "
            f"precision {precision:.3f}, recall {recall:.3f}, right kind {right:.3f}\n"
        )
        if method == "lab":
            assert precision >= 0.99 and recall >= 0.93 and right >= 0.95


@pytest.mark.slow
def test_the_thresholds_are_a_good_choice_on_the_pictures_that_chose_them(measured):
    lab, _, kinds = measured[CHOSEN_ON]

    def at(**thresholds):
        return scores(lab, kinds, MonochromeConfig("lab", **thresholds))

    precision, recall, _ = at()
    assert precision >= 0.99 and recall >= 0.95
    assert at(chroma_threshold=7)[1] < recall and at(chroma_threshold=14)[0] < precision
    assert at(tint_limit=30)[1] < recall and at(tint_limit=100)[0] < precision


def test_tints_are_no_colours():
    assert verdict(ramp()) == "greyscale"
    assert verdict(ramp() * [1.0, 0.99, 0.985]) == "greyscale"
    assert verdict(sepia(ramp(), 1.0)) == "monochrome"
    assert (
        verdict(toned(ramp(), np.array([20, 20, 30.0]), np.array([240, 225, 185.0])))
        == "monochrome"
    )
    assert verdict(ramp() * [0.85, 0.92, 1.0]) == "monochrome"
    noisy = ramp() + np.random.default_rng(0).normal(0, 6, ramp().shape)
    assert LAB.kind(measure_lab(jpeg(noisy, 60))) == "greyscale"


def test_colours_are_none():
    astronaut = photo("astronaut.png")
    grey = np.repeat(astronaut.mean(axis=2, keepdims=True), 3, axis=2)
    for share in (1.0, 0.4):
        assert verdict(grey + (astronaut - grey) * share) is None
    assert verdict(astronaut * 0.25) is None
    assert verdict(grey) == "greyscale"
    assert verdict(toned(ramp(), np.array([10, 30, 200.0]), np.full(3, 250.0))) is None


def test_complementary_colours_are_no_tint():
    """Blue shadows and yellow lights lie on one line through grey, but are two hues."""
    split = toned(ramp(), np.array([60, 66, 100.0]), np.array([245, 228, 190.0]))
    assert verdict(split) is None
    assert verdict(toned(ramp(), np.array([60, 66, 100.0]), np.full(3, 245.0))) == "monochrome"


@pytest.mark.parametrize("seed", [2, 4])
def test_pale_paint_is_no_tint(seed):
    """Its one colour could be that of paper, but no tint changes so fast with brightness."""
    draw = np.random.default_rng(seed)
    paint = hue_colour(draw.uniform(0, 1), 0.3, 0.95)
    assert verdict(Drawing(draw, 15).shade(2).figure([paint], 0.03).pixels()) is None


@pytest.mark.parametrize(("share", "counts"), [(0.005, False), (0.015, True)])
def test_one_hundredth_of_the_page_in_colour_counts(share, counts):
    for seed in range(12):
        draw = np.random.default_rng(seed)
        colour = hue_colour(draw.uniform(0, 1), 0.6, 0.9)
        page = scanned(draw, Drawing(draw, 15).figure([colour], share).pixels())
        assert (LAB.kind(measure_lab(page)) is None) == counts


def test_the_numbers_are_lab_units():
    flat = np.full((64, 64, 3), (255, 255, 155), np.uint8)  # L 98, a -14, b 48
    tint, beside = measure_lab(flat)
    assert tint == pytest.approx(50, abs=1.5) and beside == pytest.approx(0, abs=0.1)
    page = np.full((100, 100, 3), 255, np.uint8)
    page[:20, :20] = (255, 255, 155)
    page[50:] = (222, 222, 222)  # as bright as the yellow, and more of it
    assert measure_lab(page)[1] == pytest.approx(50, abs=4)


def test_the_verdict_takes_its_own_thresholds():
    assert LAB.kind((2.99, 9.99)) == "greyscale"
    assert LAB.kind((3.0, 9.99)) == "monochrome"
    assert LAB.kind((0.0, 10.0)) is None
    assert LAB.kind((40.0, 0.0)) is None
    looser = MonochromeConfig("lab", chroma_threshold=11, tint_limit=41)
    assert looser.kind((40.0, 10.0)) == "monochrome"


def test_size_and_shape_do_not_matter(tmp_path):
    picture = Image.fromarray(photo("coffee.png").astype(np.uint8))
    small = measure_lab(np.asarray(picture))
    large = measure_lab(np.asarray(picture.resize((1536, 1024), Image.Resampling.BICUBIC)))
    assert large == pytest.approx(small, rel=0.1)
    picture.resize((1536, 1024), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg", quality=90)
    assert examine(tmp_path / "large.jpg", "lab") == pytest.approx(small, rel=0.1)
    for shape in ((1, 1), (1, 900), (900, 1), (3, SIDE)):
        assert LAB.kind(measure_lab(np.full((*shape, 3), 77, np.uint8))) == "greyscale"
    assert LAB.kind(measure_lab(np.zeros((9, 9, 3), np.uint8))) == "greyscale"
