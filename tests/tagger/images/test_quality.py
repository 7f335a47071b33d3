import numpy as np
import pytest

from pack.demo import drawings, flaws
from pack.demo.pictures import photograph
from pack.tagger import MEASURED_PIXELS, CurateConfig, assess
from pack.tagger.images.borders import Bars
from pack.tagger.images.duplicates import perceptual_hash
from pack.tagger.images.quality import at_measured_size
from pack.tagger.images.sharpness import blur_radius


def boxed(picture, rows):
    canvas = np.zeros((picture.shape[0] + 2 * rows, picture.shape[1], 3), np.uint8)
    canvas[rows:-rows] = picture
    return canvas


def test_everything_but_the_bars_is_measured_without_them():
    """Their hard edges would make a blurred image sharp, and another image of the same one."""
    blurred = flaws.gaussian(photograph("coffee.png"), 4)
    quality = assess(boxed(blurred, 60))
    assert quality.bars == Bars(0, 60, 0, 60)
    assert quality.blur == pytest.approx(blur_radius(blurred), rel=0.05)
    assert (quality.hash == perceptual_hash(blurred)).mean() > 0.97


def test_large_pictures_are_brought_to_the_size_of_a_bucket():
    large = drawings.drawing(3, (1500, 2000), "room")
    small = at_measured_size(large)
    assert 0.99 * MEASURED_PIXELS < small.shape[0] * small.shape[1] <= MEASURED_PIXELS
    assert small.shape[1] / small.shape[0] == pytest.approx(0.75, rel=0.01)
    assert at_measured_size(small) is small
    assert np.abs(small.mean(axis=(0, 1)) - large.mean(axis=(0, 1))).max() < 1
    thin = at_measured_size(np.zeros((1, 3 * MEASURED_PIXELS, 3), np.uint8))
    assert thin.shape[0] == 1


def test_bars_are_told_in_the_pixels_of_the_original():
    original = np.zeros((1100, 900, 3), np.uint8)
    original[150:-150, 101:-101] = drawings.drawing(3, (698, 800), "room")
    assert assess(original).bars == Bars(101, 150, 101, 150)
    narrowed = np.ascontiguousarray(original[:, ::2])  # bars of 51 and 50 columns
    assert assess(narrowed, (900, 1100)).bars == Bars(102, 150, 100, 150)
    assert assess(original, (1013, 1100)).bars == Bars(114, 150, 114, 150), "113.7 rounded up"
    third = flaws.resized(original, 1 / 3)
    found = np.array(assess(third, (900, 1100)).bars)
    assert np.abs(found - (101, 150, 101, 150)).max() <= 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (2, 3), (40, 8)])
def test_tiny_pictures_can_be_measured(shape):
    quality = assess(np.zeros((*shape, 3), np.uint8))
    assert quality.blur == 0 and quality.bars == Bars(0, 0, 0, 0)


def test_only_what_is_beyond_doubt_is_left_out_by_default():
    options = CurateConfig()
    modes = {name: value for name, value in vars(options).items() if isinstance(value, str)}
    assert [name for name, mode in modes.items() if mode == "exclude"] == ["exact_duplicates"]
    assert len(modes) == 6


def test_options_tell_all_their_problems():
    with pytest.raises(ValueError) as caught:
        CurateConfig(
            blurred="drop", crop_threshold=1.5, blur_threshold=0, upscale_threshold=float("nan")
        )
    for name in ("blurred is 'drop'", "crop_threshold", "blur_threshold", "upscale_threshold"):
        assert name in str(caught.value)
