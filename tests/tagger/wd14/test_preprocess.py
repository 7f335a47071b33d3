import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from pack.tagger import View, prepare, read_rgb
from pack.tagger.wd14 import families, preprocess

FILES = [
    "rgb_300x200",
    "rgb_640x479",
    "rgb_448x448",
    "rgba_37x91",
    "rgba_501x333",
    "l_120x333",
    "la_150x90",
    "p_transp_200x161",
    "rgb_901x447",
    "rgb_449x450",
]


@pytest.fixture(scope="module")
def rows(tagger_golden):
    rows = json.loads((tagger_golden / "preprocess.json").read_text(encoding="utf-8"))["rows"]
    return {row["file"]: row for row in rows}


def test_every_golden_picture_is_tested(rows):
    assert {f"{name}.png" for name in FILES} == set(rows)


@pytest.mark.parametrize("kohya", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_equals_kohya_to_the_last_bit(tagger_golden, rows, name, kohya):
    row = rows[f"{name}.png"]
    pixels = prepare(tagger_golden / "images" / row["file"], kohya=kohya)
    (tensor,) = families.WD.feed([pixels])
    assert (tensor.shape, str(tensor.dtype)) == (tuple(row["shape"]), row["dtype"])
    assert hashlib.sha256(tensor.tobytes()).hexdigest() == row["sha256_float32"]


def test_stored_tensors_agree(tagger_golden):
    stored = np.load(tagger_golden / "preprocess.npz")
    for key in stored:
        file, kind = key.rsplit(".", 1)
        tensor = prepare(tagger_golden / "images" / file)
        if kind == "block16":
            tensor = tensor.reshape(28, 16, 28, 16, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(tensor, stored[key], atol=1e-3)


def test_pixels_give_what_the_file_gives(tagger_golden):
    path = tagger_golden / "images" / "rgba_501x333.png"
    np.testing.assert_array_equal(prepare(read_rgb(path)), prepare(path))


def test_exif_orientation_is_applied_but_not_for_kohya(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = read_rgb(tmp_path / "turned.png")
    assert upright.shape == (40, 20, 3)
    np.testing.assert_array_equal(upright, np.rot90(pixels, -1))
    np.testing.assert_array_equal(read_rgb(tmp_path / "turned.png", kohya=True), pixels)


@pytest.mark.parametrize("kohya", [False, True])
def test_alpha_is_blended_on_white(tmp_path, kohya):
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "half.png")
    red, green, blue = read_rgb(tmp_path / "half.png", kohya)[0, 0].tolist()
    assert red == 255 and green == blue and abs(green - 127) <= 1


def test_sixteen_bit_grey_keeps_its_tones(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "deep.png")[:, :, 1], ramp >> 8)
    assert (read_rgb(tmp_path / "deep.png", kohya=True) == 255).mean() > 0.9


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut"])
def test_an_unreadable_file_is_named(tmp_path, tagger_golden, kind):
    path = tmp_path / f"{kind}.png"
    whole = (tagger_golden / "images" / "rgb_300x200.png").read_bytes()
    content = {"empty": b"", "text": b"no picture", "cut": whole[:2000]}.get(kind)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{kind}\.png.*take it out of the dataset"):
        read_rgb(path)


def test_a_file_that_breaks_while_decoding_is_named(tmp_path):
    path = tmp_path / "bent.png"
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    second = whole.index(b"IDAT", whole.index(b"IDAT") + 4)
    path.write_bytes(whole[:second] + bytes(4) + whole[second + 4 :])
    with pytest.raises(ValueError, match=r"bent\.png"):
        read_rgb(path)


def test_a_decompression_bomb_is_named(tmp_path, monkeypatch):
    Image.new("L", (30, 30)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"bomb\.png"):
        read_rgb(tmp_path / "bomb.png")


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)])
def test_other_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match="uint8 RGB"):
        prepare(wrong)


def test_planes_are_what_the_script_makes_of_the_pictures():
    pictures = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    expected = pictures.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1.0
    planes = families.CL1.feed(list(pictures))
    assert planes.dtype == np.float32 and planes.flags.c_contiguous
    np.testing.assert_array_equal(planes, expected)
    np.testing.assert_array_equal(families.WD.feed(list(pictures)), pictures)


def test_a_broken_file_in_memory_is_told_without_a_name():
    with pytest.raises(ValueError, match="Cannot read the image: "):
        prepare(b"no picture")


def photograph(width, height, **options):
    """A JPEG of soft shapes with some noise, as bytes."""
    small = np.random.default_rng(5).integers(0, 256, (9, 9, 3), np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=90, **options)
    return target.getvalue()


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((4000, 3000), (500, 375)),
        ((3584, 100), (448, 13)),
        ((3583, 100), (896, 25)),
        ((300, 1792), (75, 448)),
        ((896, 896), (448, 448)),
        ((895, 895), (895, 895)),
        ((3600, 4), (900, 1)),
        ((200, 100), (200, 100)),
    ],
)
def test_fast_decoding_keeps_the_longest_side_at_the_models_or_more(size, decoded, monkeypatch):
    seen = []
    squared = preprocess.seen_bgr
    monkeypatch.setattr(
        preprocess, "seen_bgr", lambda rgb, *rest: seen.append(rgb.shape) or squared(rgb, *rest)
    )
    data = photograph(*size)
    fast, exact = prepare(data, fast=True), prepare(data)
    assert seen == [(*decoded[::-1], 3), (*size[::-1], 3)]
    if size == decoded:
        np.testing.assert_array_equal(fast, exact)
    else:
        assert 0 < np.abs(fast.astype(int) - exact).mean() < 3


def test_fast_decoding_turns_by_exif_as_well():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = photograph(1900, 900, exif=exif)
    difference = prepare(data, fast=True).astype(int) - prepare(data)
    assert np.abs(difference).mean() < 3


def test_fast_decoding_changes_no_other_format(tagger_golden):
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 256, (1000, 1000, 3), np.uint8))
    for kind in ("PNG", "WEBP", "BMP"):
        target = io.BytesIO()
        picture.save(target, kind)
        data = target.getvalue()
        np.testing.assert_array_equal(prepare(data, fast=True), prepare(data))


@pytest.mark.parametrize("size", [(901, 300), (300, 901), (1700, 3)])
def test_a_very_long_picture_needs_no_huge_square(size, monkeypatch):
    monkeypatch.setattr(preprocess, "LARGEST", 900)
    picture = read_rgb(photograph(*size))
    made, full = [], np.full
    monkeypatch.setattr(np, "full", lambda shape, *rest: made.append(shape) or full(shape, *rest))
    exact = preprocess.seen_bgr(picture, View(448), kohya=True)
    difference = preprocess.seen_bgr(picture, View(448)).astype(int) - exact
    assert np.abs(difference).mean() < 1
    assert made[0] == (max(size), max(size), 3) and max(made[1]) <= preprocess.LARGEST
