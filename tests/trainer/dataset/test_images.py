import numpy as np
import pytest
from PIL import Image, ImageCms

from pack.base import image_file
from pack.tests import bad_files
from pack.trainer.dataset import images
from pack.trainer.sdxl.buckets import BucketConfig, assign


def noise(width, height, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(tmp_path, image, name="a.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def inspected(path):
    return images.inspect(path, path.read_bytes())


def with_orientation(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(tmp_path, Image.fromarray(noise(48, 32)), name, exif=exif)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_exif_rotation_is_applied_except_for_kohya(tmp_path, name):
    path = with_orientation(tmp_path, name, 6)
    raw = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(images.load_rgb(path), np.rot90(raw, -1))
    assert np.array_equal(images.load_rgb(path, kohya=True), raw)
    assert inspected(path) == (32, 48)
    assert images.stored_size(path) == (48, 32)


def test_alpha_goes_on_white_except_for_kohya(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[..., 3] = [[0, 255], [128, 128]]
    path = saved(tmp_path, Image.fromarray(rgba))
    shown = images.load_rgb(path)
    assert shown[0].tolist() == [[255, 255, 255], [200, 0, 0]]
    assert np.abs(shown[1, 0].astype(int) - [227, 127, 127]).max() <= 1
    assert images.load_rgb(path, kohya=True)[0, 0].tolist() == [200, 0, 0]


def test_palette_transparency_goes_on_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    path = saved(tmp_path, image, transparency=0)
    assert images.load_rgb(path)[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_sixteen_bit_grey_is_scaled(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    path = saved(tmp_path, Image.fromarray(levels))
    assert images.load_rgb(path)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_grey_and_cmyk_become_rgb(tmp_path):
    grey = saved(tmp_path, Image.fromarray(noise(5, 4, 1)), "g.png")
    assert np.array_equal(images.load_rgb(grey), np.dstack([noise(5, 4, 1)] * 3))
    cmyk = saved(tmp_path, Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "c.jpg")
    red, green, blue = images.load_rgb(cmyk)[4, 4]
    assert red < 10 and green > 240 and blue > 240


def test_a_colour_profile_is_converted_to_srgb(tmp_path):
    lab = Image.new("RGB", (2, 2), (60, 120, 200))
    path = saved(tmp_path, lab, "plain.png")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = saved(tmp_path, lab, "srgb.png", icc_profile=srgb)
    assert np.array_equal(images.load_rgb(path), images.load_rgb(same))
    broken = saved(tmp_path, lab, "broken.png", icc_profile=b"no profile")
    assert np.array_equal(images.load_rgb(path), images.load_rgb(broken))
    swapped = bytearray(srgb)  # a profile whose red and blue primaries are exchanged
    swapped[swapped.index(b"rXYZ")] = ord("b")
    swapped[swapped.rindex(b"bXYZ")] = ord("r")
    swapped = bytes(swapped).replace("sRGB".encode("utf-16-be"), "other"[:4].encode("utf-16-be"))
    wide = saved(tmp_path, lab, "wide.png", icc_profile=swapped.replace(b"sRGB", b"swap", 2))
    assert not np.array_equal(images.load_rgb(path), images.load_rgb(wide))
    assert np.array_equal(images.load_rgb(path), images.load_rgb(wide, kohya=True))


def test_broken_files_are_named(tmp_path, monkeypatch):
    whole = saved(tmp_path, Image.fromarray(noise(200, 200)), "a.jpg").read_bytes()
    for name, data, reason in [
        ("cut.jpg", whole[: len(whole) // 2], "truncated"),
        ("zero.png", b"", "not a PNG"),
        ("text.png", b"hello there", "not a PNG"),
    ]:
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}.*{reason}"):
            images.load_rgb(path)
        with pytest.raises(ValueError, match=reason if data else "the file is empty"):
            inspected(path)
    with pytest.raises(ValueError, match="the file is gone"):
        images.load_rgb(tmp_path / "none.png")
    monkeypatch.setattr(image_file, "MAX_PIXELS", 100)
    with pytest.raises(ValueError, match="more pixels than is safe"):
        images.load_rgb(tmp_path / "a.jpg")


def test_a_large_jpeg_is_decoded_at_no_fewer_pixels_than_asked(tmp_path):
    ramp = np.linspace(0, 255, 400).astype(np.uint8)[:, None].repeat(600, axis=1)
    path = saved(tmp_path, Image.fromarray(ramp).convert("RGB"), "a.jpg", quality=95)
    shapes = {
        pixels: images.load_rgb(path, at_least=pixels).shape[:2]
        for pixels in (1, 75 * 50, 75 * 50 + 1, 60_000, 60_001, 240_000, 1_000_000)
    }
    assert shapes == {
        1: (50, 75),
        75 * 50: (50, 75),
        75 * 50 + 1: (100, 150),
        60_000: (200, 300),
        60_001: (400, 600),
        240_000: (400, 600),
        1_000_000: (400, 600),
    }
    small = images.load_rgb(path, at_least=1)[:, 0, 0].astype(int)
    assert np.abs(small - ramp[4::8, 0]).max() <= 3
    turned = with_orientation(tmp_path, "turned.jpg", 6)
    assert images.load_rgb(turned, at_least=6 * 4).shape[:2] == (6, 4)
    png = saved(tmp_path, Image.fromarray(ramp))
    assert images.load_rgb(png, at_least=1).shape[:2] == (400, 600)


def test_a_gif_under_another_name_and_an_animation_are_refused(tmp_path):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    gif = saved(tmp_path, frames[0], "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match="not a PNG"):
        inspected(gif)
    moving = saved(tmp_path, frames[0], "m.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="animation"):
        inspected(moving)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "area", "box", "lanczos", None])
@pytest.mark.parametrize("size", [(90, 70), (300, 200)])
def test_every_interpolation_fills_the_bucket(name, size):
    placement = assign(size, BucketConfig((128, 128), min_reso=64, max_reso=256, step=32))
    made = images.resize_and_crop(noise(*size), placement, name)
    assert made.shape == (placement.bucket[1], placement.bucket[0], 3)
    assert made.dtype == np.uint8 and made.flags.c_contiguous
    with pytest.raises(ValueError, match="Unknown interpolation 'sinc'; choose one of area"):
        images.resize_and_crop(noise(*size), placement, "sinc")


def test_a_picture_of_the_right_size_is_only_cropped():
    placement = assign((200, 96), BucketConfig((128, 96), enabled=False))
    pixels = noise(200, 96)
    made = images.resize_and_crop(pixels, placement)
    assert np.array_equal(made, pixels[:, 36:164])


@pytest.mark.parametrize("bits", [1, 2, 4, 16])
def test_a_transparent_level_of_few_bits_counts_but_not_in_kohya(tmp_path, bits):
    path = tmp_path / "a.png"
    bad_files.levels_see_through(bits)(path)
    alpha = images.load_alpha(path, path.read_bytes())
    assert (alpha[:, :16] == 0).all() and (bits == 1 or (alpha[:, 16:] == 255).all())
    assert (images.load_alpha(path, path.read_bytes(), kohya=True) is None) == (bits != 1)
