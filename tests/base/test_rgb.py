import numpy as np
from PIL import Image

from pack.base.rgb import high_byte, on_white, plain_rgb, rounded, upright_8_bit


def test_sixteen_bits_become_eight_in_either_way():
    levels = np.array([[0, 128, 129, 255, 256, 32896, 65535]], np.uint16)
    made = [upright_8_bit(Image.fromarray(levels), way) for way in (rounded, high_byte)]
    assert [np.asarray(image)[0].tolist() for image in made] == [
        [0, 0, 1, 1, 1, 128, 255],
        [0, 0, 0, 0, 1, 128, 255],
    ]
    assert {image.mode for image in made} == {"L"}


def test_levels_beyond_sixteen_bits_are_clipped():
    image = Image.fromarray(np.array([[-5, 70000]], np.int32))
    assert image.mode == "I"
    for way in (rounded, high_byte):
        assert np.asarray(upright_8_bit(image.copy(), way)).tolist() == [[0, 255]]


def test_eight_bits_stay_and_the_profile_of_sixteen_is_kept():
    plain = Image.new("RGB", (2, 3), (1, 2, 3))
    assert upright_8_bit(plain, rounded) is plain
    deep = Image.fromarray(np.zeros((2, 2), np.uint16))
    deep.info["icc_profile"] = b"a profile"
    assert upright_8_bit(deep, rounded).info["icc_profile"] == b"a profile"


def test_an_image_is_turned_in_place():
    image = Image.new("RGB", (4, 2))
    image.getexif()[0x0112] = 6
    assert upright_8_bit(image, rounded).size == (2, 4) == image.size


def test_transparency_of_every_kind_lies_on_white():
    red = Image.new("RGBA", (1, 2), (255, 0, 0, 255))
    red.putpixel((0, 1), (255, 0, 0, 0))
    palette = Image.new("P", (1, 2))
    palette.putpalette([255, 0, 0, 9, 9, 9])
    palette.putpixel((0, 1), 1)
    palette.info["transparency"] = 1
    for image in (red, palette):
        shown = on_white(image)
        assert shown.mode == "RGB"
        assert [shown.getpixel((0, y)) for y in (0, 1)] == [(255, 0, 0), (255, 255, 255)]


def test_colours_are_converted_before_they_are_blended():
    def swapped(image):
        assert image.info["icc_profile"] == b"a profile"
        return Image.merge("RGB", plain_rgb(image).split()[::-1])

    image = Image.new("RGBA", (1, 1), (200, 0, 0, 0))
    image.info["icc_profile"] = b"a profile"
    assert on_white(image, swapped).getpixel((0, 0)) == (255, 255, 255)
    image.putalpha(255)
    assert on_white(image, swapped).getpixel((0, 0)) == (0, 0, 200)
    opaque = Image.new("RGB", (1, 1), (200, 0, 0))
    opaque.info["icc_profile"] = b"a profile"
    assert on_white(opaque, swapped).getpixel((0, 0)) == (0, 0, 200)


def test_an_opaque_rgb_image_is_itself():
    image = Image.new("RGB", (2, 2))
    assert on_white(image) is image
