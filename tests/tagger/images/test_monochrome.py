import numpy as np
import pytest
from PIL import Image

from pack.tagger import MonochromeConfig, examine, tag_kind
from pack.tagger.images.monochrome import measure_hsv

HSV = MonochromeConfig()


def kind(image, **thresholds):
    return MonochromeConfig(**thresholds).kind(measure_hsv(image))


def opencvs_hsv(rgb):
    """Hue 0..179 and saturation 0..255 by OpenCV's fixed-point rule, pixel by pixel in numpy."""
    red, green, blue = np.moveaxis(rgb.astype(np.int64), -1, 0)
    value = rgb.max(axis=-1).astype(np.int64)
    spread = value - rgb.min(axis=-1)
    per = np.concatenate([[0], 1 / np.arange(1, 256)])
    saturation = (spread * np.rint((255 << 12) * per).astype(np.int64)[value] + 2048) >> 12
    sixth = np.where(
        value == red,
        green - blue,
        np.where(value == green, 2 * spread + blue - red, 4 * spread + red - green),
    )
    hue = (sixth * np.rint((30 << 12) * per).astype(np.int64)[spread] + 2048) >> 12
    return np.where(hue < 0, hue + 180, hue), saturation


@pytest.mark.parametrize("span", [(0, 256), (0, 4), (120, 136), (252, 256)])
def test_the_numbers_are_those_of_every_single_pixel(span):
    image = np.random.default_rng(0).integers(*span, (500, 600, 3), np.uint8)
    hue, saturation = opencvs_hsv(image)
    assert measure_hsv(image) == pytest.approx((saturation.mean(), hue.std()), rel=1e-9)


def test_hue_goes_from_0_to_179():
    wheel = np.zeros((1, 6, 3), np.uint8)
    wheel[0] = [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 6)]
    hue, _ = opencvs_hsv(wheel)
    assert hue.tolist() == [[0, 30, 60, 90, 120, 179]]
    assert measure_hsv(wheel) == pytest.approx((255, np.std([0, 30, 60, 90, 120, 179])))


def grey(side=64):
    ramp = np.arange(side * side, dtype=np.uint32).reshape(side, side) % 256
    return np.repeat(ramp.astype(np.uint8)[:, :, None], 3, axis=2)


def test_grey_pixels_are_greyscale():
    assert measure_hsv(grey()) == (0.0, 0.0)
    assert kind(grey()) == "greyscale"


def test_one_hue_is_monochrome():
    red = np.zeros((40, 40, 3), np.uint8)
    red[:, :, 0] = np.arange(60, 100)
    assert measure_hsv(red)[0] == 255.0
    assert kind(red) == "monochrome"


def test_colours_have_no_kind():
    assert kind(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)) is None


def test_the_thresholds_are_the_scripts():
    # One faintly red pixel (hue 0) among grey: only the saturation moves; 1 of 255 / pixels.
    for side, expected in ((40, "greyscale"), (20, "monochrome")):
        picture = np.full((side, side, 3), 200, np.uint8)
        picture[0, 0] = (200, 199, 199)
        saturation, hue = measure_hsv(picture)
        assert saturation > 0 and hue == 0
        assert kind(picture) == expected
    # The same in blue (hue 120): the hue spreads by 120 / side.
    for side, expected in ((40, "greyscale"), (20, None)):
        picture = np.full((side, side, 3), 200, np.uint8)
        picture[0, 0] = (199, 199, 200)
        assert measure_hsv(picture)[1] == pytest.approx(120 / side, rel=0.01)
        assert kind(picture) == expected


def test_the_hue_may_spread_as_far_as_the_scripts_threshold():
    # One pixel a step of OpenCV's hue (two degrees) away: the hue spreads by 1 / side.
    for side, expected in ((40, "monochrome"), (30, None)):
        picture = np.full((side, side, 3), (250, 0, 0), np.uint8)
        picture[0, 0] = (255, 8, 0)
        assert measure_hsv(picture)[1] == pytest.approx(1 / side, rel=0.01)
        assert kind(picture) == expected


def test_greyscale_is_tested_first_and_thresholds_are_exclusive():
    red = np.full((8, 8, 3), (200, 100, 100), np.uint8)
    assert kind(red) == "monochrome"
    assert kind(red, saturation_threshold=256) == "greyscale"
    assert kind(red, hue_threshold=0) is None
    assert HSV.kind((0.001, 0.03)) is None
    assert HSV.kind((0.001, 0.0299)) == "monochrome"
    assert HSV.kind((0.000999, 99.0)) == "greyscale"


def test_every_kind_of_file_is_read_with_transparency_on_white(tmp_path):
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "keyed.png", transparency=(255, 0, 0))
    Image.new("L", (8, 8), 90).save(tmp_path / "grey.png")
    clear.quantize().save(tmp_path / "palette.png")
    Image.new("CMYK", (8, 8), (0, 0, 0, 90)).save(tmp_path / "cmyk.jpg")
    for name in ("clear.png", "keyed.png", "grey.png", "palette.png", "cmyk.jpg"):
        for method in ("hsv", "lab"):
            assert examine(tmp_path / name, method) == pytest.approx((0, 0), abs=0.05), name


@pytest.mark.parametrize("method", ["hsv", "lab"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, method):
    whole = tmp_path / "whole.jpg"
    Image.fromarray(grey()).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:700])
    for name in ("gone.png", "cut.jpg"):
        with pytest.raises(ValueError, match=rf"Cannot read the image .*{name}"):
            examine(tmp_path / name, method)


def test_hsv_looks_at_every_pixel_of_a_jpeg(tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (600, 640, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "noise.jpg", quality=95)
    with Image.open(tmp_path / "noise.jpg") as opened:
        hue, saturation = opencvs_hsv(np.asarray(opened))
    expected = (saturation.mean(), hue.std())
    assert examine(tmp_path / "noise.jpg", "hsv") == pytest.approx(expected, rel=1e-9)


def test_the_kind_is_tagged_once():
    once = tag_kind("1girl, solo", "greyscale")
    assert once == "1girl, solo, greyscale"
    assert tag_kind(once, "greyscale") == once
    assert tag_kind("1girl, Monochrome", "monochrome") == "1girl, Monochrome"
    assert tag_kind("", "greyscale") == "greyscale"
    assert tag_kind("1girl", None) == "1girl"
