import colorsys

import numpy as np
import pytest
from PIL import Image

from pack.tagger import examine, measure, tag_kind


def grey(side=64):
    ramp = np.arange(side * side, dtype=np.uint32).reshape(side, side) % 256
    return np.repeat(ramp.astype(np.uint8)[:, :, None], 3, axis=2)


def test_grey_pixels_are_greyscale():
    result = measure(grey())
    assert (result.saturation_mean, result.hue_std, result.kind) == (0.0, 0.0, "greyscale")


def test_one_hue_is_monochrome():
    red = np.zeros((40, 40, 3), np.uint8)
    red[:, :, 0] = np.arange(60, 100)
    result = measure(red)
    assert result.kind == "monochrome" and result.saturation_mean == 255.0


def test_colours_have_no_kind():
    assert measure(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).kind is None


def test_the_thresholds_are_the_scripts():
    # One faintly red pixel (hue 0) among grey: only the saturation moves; 1 of 255 / pixels.
    for side, kind in ((40, "greyscale"), (20, "monochrome")):
        picture = np.full((side, side, 3), 200, np.uint8)
        picture[0, 0] = (200, 199, 199)
        result = measure(picture)
        assert result.saturation_mean > 0 and result.hue_std == 0
        assert result.kind == kind
    # The same in blue (hue 120): the hue spreads by 120 / side.
    for side, kind in ((40, "greyscale"), (20, None)):
        picture = np.full((side, side, 3), 200, np.uint8)
        picture[0, 0] = (199, 199, 200)
        result = measure(picture)
        assert result.hue_std == pytest.approx(120 / side, rel=0.01)
        assert result.kind == kind


def test_the_hue_may_spread_as_far_as_the_scripts_threshold():
    # One pixel a step of OpenCV's hue (two degrees) away: the hue spreads by 1 / side.
    for side, kind in ((40, "monochrome"), (30, None)):
        picture = np.full((side, side, 3), (250, 0, 0), np.uint8)
        picture[0, 0] = (255, 8, 0)
        result = measure(picture)
        assert result.hue_std == pytest.approx(1 / side, rel=0.01)
        assert result.kind == kind


def test_greyscale_is_tested_first_and_thresholds_can_be_set():
    red = np.full((8, 8, 3), (200, 100, 100), np.uint8)
    assert measure(red).kind == "monochrome"
    assert measure(red, saturation_threshold=256).kind == "greyscale"
    assert measure(red, hue_threshold=0).kind is None


def test_numbers_are_opencvs_units():
    picture = np.zeros((1, 2, 3), np.uint8)
    picture[0, 0] = (255, 0, 0)
    picture[0, 1] = [round(255 * part) for part in colorsys.hsv_to_rgb(240 / 360, 0.5, 1)]
    result = measure(picture)
    assert result.hue_std == pytest.approx(60)  # hues 0 and 120 of 0..179
    assert result.saturation_mean == pytest.approx((255 + 127.5) / 2, abs=0.5)


def test_examine_reads_files_with_alpha_on_white(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert examine(tmp_path / "clear.png").kind == "greyscale"
    with pytest.raises(ValueError, match=r"gone\.png"):
        examine(tmp_path / "gone.png")


def test_other_arrays_are_refused():
    with pytest.raises(ValueError, match="uint8 RGB"):
        measure(np.zeros((4, 4, 3), np.float32))


def test_the_kind_is_tagged_once():
    once = tag_kind("1girl, solo", "greyscale")
    assert once == "1girl, solo, greyscale"
    assert tag_kind(once, "greyscale") == once
    assert tag_kind("1girl, Monochrome", "monochrome") == "1girl, Monochrome"
    assert tag_kind("", "greyscale") == "greyscale"
    assert tag_kind("1girl", None) == "1girl"
