"""Damaged images of every format, and decoders that raise what they like: a file is listed, the rest goes on."""

import ast
import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from pack.base import image_file
from pack.base.image_file import FORMATS, opened
from pack.tagger import View, examine, prepare
from pack.tests import bad_files as make
from pack.tests import bad_profiles
from pack.trainer.dataset.contact_sheet import contact_sheet
from pack.trainer.dataset.images import load_alpha, load_rgb, stored_size, thumbnail
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.dataset.unchanged import check_unchanged

SEEDS = 10
PATH = Path("a.png")

READERS = {
    "pixels": lambda data: load_rgb(PATH, data=data),
    "pixels as kohya": lambda data: load_rgb(PATH, data=data, kohya=True),
    "pixels to measure": lambda data: load_rgb(PATH, data=data, at_least=100),
    "opacity": lambda data: load_alpha(PATH, data),
    "opacity as kohya": lambda data: load_alpha(PATH, data, kohya=True),
    "a thumbnail": lambda data: thumbnail(PATH, 16, data),
    "the tagger's pixels": lambda data: prepare(data, View(64)),
    "the tagger's pixels, fast": lambda data: prepare(data, View(64), fast=True),
}
"""Everything that reads an image after Load Dataset."""


def kinds():
    """A file for each format and kind of contents, by name."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8))
    exif = Image.Exif()
    exif[make.ORIENTATION], exif[0x010E] = 6, "hello"
    extra = {"exif": exif, "icc_profile": bad_profiles.swapped()}
    more = {"save_all": True, "append_images": [noise]}
    for kind, image, options in (
        ("PNG", noise, {}),
        ("PNG", noise.convert("RGBA"), extra),
        ("PNG", noise.quantize(16), {"transparency": 3}),
        ("PNG", make.wide_grey(), {"icc_profile": bad_profiles.linear_grey()}),
        ("JPEG", noise, extra),
        ("JPEG", noise.convert("CMYK"), {"icc_profile": bad_profiles.inks()}),
        ("JPEG", noise, {"progressive": True}),
        ("MPO", noise, more),
        ("WEBP", noise, extra),
        ("WEBP", noise.convert("RGBA"), {"lossless": True}),
        ("BMP", noise, {}),
        ("BMP", noise.quantize(4), {}),
        *(
            [("AVIF", noise, {"exif": exif}), ("AVIF", noise.convert("RGBA"), {})]
            * ("AVIF" in FORMATS)
        ),
    ):
        file = io.BytesIO()
        image.save(file, kind, **options)
        yield f"{kind} {image.mode} {len(file.getvalue())}", file.getvalue()


def damaged(data: bytes, seed: str) -> bytes:
    """Cut off, or with bytes of its head or of the whole changed."""
    dice = random.Random(seed)
    way = dice.randrange(3)
    if way == 0:
        return data[: dice.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 4, 16])):
        end = min(len(data), 400) if way == 1 else len(data)
        changed[dice.randrange(end)] = dice.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize(
    ("kind", "data"), [*kinds()], ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_loaded_can_be_read_and_the_rest_is_listed(tmp_path, kind, data):
    Image.new("RGB", (32, 32)).save(tmp_path / "whole.png")
    for seed in range(SEEDS):
        (tmp_path / f"{seed}.png").write_bytes(damaged(data, f"{kind} {seed}"))
    dataset = scan_folder(tmp_path)
    used = {sample.path.name: sample for _, sample in dataset.samples()}
    listed = {problem.path.name: problem.reason for problem in dataset.problems}
    assert used.keys() | listed.keys() == {"whole.png", *(f"{seed}.png" for seed in range(SEEDS))}
    assert "whole.png" in used and all(listed.values())
    for sample in used.values():
        contents = sample.path.read_bytes()
        for read in READERS.values():
            read(contents)
        assert load_rgb(PATH, data=contents).shape[1::-1] == sample.size


class Odd(Exception):
    """As a plugin's own."""


ERRORS = (
    RuntimeError("Failed to decode frame 0"),
    KeyError("x"),
    TypeError(),
    Odd("odd\nlines " * 200),
)


def of_this_file(real, error, marked):
    """The decoder's function, which raises for files of 13 pixels' width."""

    def call(image, *args, **options):
        if marked(image):
            raise error
        return real(image, *args, **options)

    return call


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["open", "draft", "load", "turn"])
def test_whatever_a_decoder_raises(tmp_path, monkeypatch, error, place):
    exif = Image.Exif()
    exif[make.ORIENTATION] = 6
    kind = "JPEG" if place == "draft" else "PNG"  # a JPEG's size is no more 13 when it is decoded
    mode = "RGB" if place == "draft" else "RGBA"
    Image.new(mode, (16, 13), "red").save(tmp_path / "bad.jpg", kind, exif=exif)
    Image.new("RGB", (16, 16)).save(tmp_path / "good.jpg", kind)
    data = (tmp_path / "bad.jpg").read_bytes()
    (sample,) = (s for _, s in scan_folder(tmp_path).samples() if s.path.name == "bad.jpg")

    if place == "open":
        real = Image.open

        def odd(source, **options):
            image = real(source, **options)
            if 13 in image.size:
                raise error
            return image

        monkeypatch.setattr(Image, "open", odd)
    elif place == "turn":
        real = ImageOps.exif_transpose
        monkeypatch.setattr(
            ImageOps, "exif_transpose", of_this_file(real, error, lambda i: 13 in i.size)
        )
    else:
        home = ImageFile.ImageFile if place == "load" else type(real_image(data))
        real = getattr(home, place)
        monkeypatch.setattr(home, place, of_this_file(real, error, lambda i: 13 in i.size))
    dataset = scan_folder(tmp_path)
    assert [s.path.name for _, s in dataset.samples()] == ["good.jpg"]
    (problem,) = dataset.problems
    assert problem.path.name == "bad.jpg" and problem.reason.startswith("it is damaged: ")
    assert "\n" not in problem.reason and len(problem.reason) < 250
    for name, read in READERS.items():
        if place in ("open", "load") or (place == "turn" and "kohya" not in name):
            with pytest.raises(ValueError, match="it is damaged: "):
                read(data)
    if place in ("open", "load"):
        for method in ("hsv", "lab"):
            with pytest.raises(ValueError, match=r"bad\.jpg: it is damaged"):
                examine(tmp_path / "bad.jpg", method)
    if place == "open":
        with pytest.raises(ValueError, match=r"bad\.jpg: it is damaged"):
            stored_size(tmp_path / "bad.jpg")
    check_unchanged(dataset)
    assert contact_sheet([sample.path, tmp_path / "good.jpg"]).size


def real_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_our_own_faults_are_not_taken_for_damage(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    with pytest.raises(RuntimeError, match="ours"), opened(tmp_path / "a.png"):
        raise RuntimeError("ours")


def test_images_are_decoded_in_one_place(root):
    """Else a decoder's errors would have to be known in each."""
    found = []
    homes = [root / name for name in ("base", "trainer", "tagger", "nodes")]
    for path in sorted(path for home in homes for path in home.rglob("*.py")):
        place = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "Image.open", "cv2.imread", "cv2.imdecode", "imageio.imread",
            ):  # fmt: skip
                found.append(place)
    assert found == ["base/image_file.py"]
    assert Path(image_file.__file__).name == "image_file.py"
