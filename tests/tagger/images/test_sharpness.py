import cv2
import numpy as np
import pytest

from pack.demo import drawings, flaws
from pack.demo.pictures import photograph
from pack.tagger.images.sharpness import WIDEST, blur_radius

RINGS = np.hypot(*np.mgrid[-256:256, -256:256])


def discs(radius, contrast=120):
    """Edges in all directions, blurred by exactly this radius."""
    picture = np.where(RINGS % 128 < 64, 60.0, 60.0 + contrast)
    return as_picture(cv2.GaussianBlur(picture, (0, 0), radius) if radius else picture)


def as_picture(grey):
    return np.repeat(grey[:, :, None], 3, axis=2).round().astype(np.uint8)


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.0, 3.0])
def test_the_number_is_the_radius_of_the_blur(radius):
    assert blur_radius(discs(radius)) == pytest.approx(radius, rel=0.06)


@pytest.mark.parametrize("contrast", [60, 190])
def test_contrast_and_brightness_do_not_matter(contrast):
    assert blur_radius(discs(2.0, contrast)) == pytest.approx(blur_radius(discs(2.0)), rel=0.05)


def test_crisp_pictures_have_next_to_none():
    for picture in (discs(0), photograph("camera.png"), drawings.drawing(2)):
        assert blur_radius(picture) < 0.55


def test_grain_and_jpeg_do_not_make_a_blurred_picture_sharp():
    blurred = discs(3.0)
    assert blur_radius(flaws.noisy(blurred, 6, seed=0)) > 1.5
    assert blur_radius(flaws.jpeg(blurred, 40)) > 2


def test_a_sharp_subject_before_a_blurred_ground_is_sharp():
    picture = flaws.gaussian(photograph("astronaut.png"), 5)
    assert blur_radius(picture) > 2
    picture[20:220, 150:350] = photograph("astronaut.png")[20:220, 150:350]
    assert blur_radius(picture) < 0.6


def test_the_worst_direction_counts():
    rows, columns = np.mgrid[:512, :512] // 40
    squares = np.where((rows + columns) % 2, 200.0, 60.0)
    for across, down in ((1, 3), (3, 1)):
        shaken = cv2.GaussianBlur(squares, (0, 0), sigmaX=across, sigmaY=down)
        assert blur_radius(as_picture(shaken)) == pytest.approx(3, rel=0.06)


def test_without_edges_contrast_decides():
    assert blur_radius(np.full((64, 64, 3), 90, np.uint8)) == 0
    faint = np.linspace(90, 100, 256)[None].repeat(256, axis=0)
    assert blur_radius(as_picture(faint)) == 0
    assert blur_radius(discs(40.0)) == WIDEST


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 2), (20, 20)])
def test_tiny_pictures_are_measured(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert 0 <= blur_radius(noise) <= WIDEST
