import io

import pytest
from PIL import Image

from pack.base import image_file
from pack.base.image_file import DECODE_ERRORS, explain, open_image, opened, unreadable


def encoded(kind="PNG", size=(4, 3)):
    target = io.BytesIO()
    Image.new("RGB", size).save(target, kind)
    return target.getvalue()


def test_a_path_or_bytes_are_opened(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded())
    for source in ((path,), (str(path),), (None, encoded()), (tmp_path / "gone.png", encoded())):
        with opened(*source) as image:
            assert image.size == (4, 3)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM"])
def test_other_formats_are_refused_whatever_the_name(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(kind))
    with (
        pytest.raises(ValueError, match=r"a\.png: it is not a PNG.*take it out of the dataset"),
        opened(path),
    ):
        pass


def test_a_failure_inside_names_the_file():
    with (
        pytest.raises(
            ValueError, match=r"^Cannot read the image a\.png: it is damaged: bits; repair"
        ),
        opened("a.png", encoded()),
    ):
        raise SyntaxError("bits")
    with (
        pytest.raises(ValueError, match=r"^Cannot read the image: bits;"),
        opened(None, encoded()),
    ):
        raise ValueError("bits")
    with pytest.raises(KeyError), opened(None, encoded()):
        raise KeyError("not one of decoding")


def test_too_many_pixels_are_refused_where_another_pack_allows_them(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(image_file, "MAX_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError, match="20 x 20 pixels"):
        open_image(None, encoded(size=(20, 20)))
    with open_image(None, encoded(size=(10, 10))) as image:
        assert image.size == (10, 10)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Image.UnidentifiedImageError("x"), "it is not a PNG"),
        (Image.DecompressionBombError("x"), "more pixels than is safe"),
        (FileNotFoundError(2, "x"), "the file is gone"),
        (PermissionError(13, "x"), "check its permissions"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (OSError("image file is truncated"), "it is damaged: image file is truncated"),
        (MemoryError(), "not enough memory"),
        (ValueError("a sentence of ours"), "a sentence of ours"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"), "it is damaged: "),
        (EOFError(), "it is damaged: EOFError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_words(error, words):
    assert isinstance(error, DECODE_ERRORS)
    assert words in explain(error)
    assert str(unreadable("b.png", error)).startswith(
        f"Cannot read the image b.png: {explain(error)}"
    )
