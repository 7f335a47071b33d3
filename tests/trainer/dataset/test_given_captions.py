"""Captions of another program: one for each image, in the dataset's order."""

import pytest
from PIL import Image

from pack.trainer.dataset.caption_files import write_captions
from pack.trainer.dataset.given_captions import with_texts
from pack.trainer.dataset.scan import scan_folder


@pytest.fixture
def dataset(tmp_path):
    for name, caption in {"a": "red", "b": "", "c": "blue"}.items():
        Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(caption)
    return scan_folder(tmp_path)


def captions(dataset):
    return [sample.caption for _, sample in dataset.samples()]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("replace", ["A hat. It is red.", "dog", ""]),
        ("append", ["red, A hat. It is red.", "dog", "blue"]),
        ("prepend", ["A hat. It is red., red", "dog", "blue"]),
        ("add a variant", ["red\nA hat. It is red.", "dog", "blue"]),
    ],
)
def test_each_image_gets_its_text(dataset, place, expected):
    """Line breaks of a text would end its caption, which is one line."""
    changed = with_texts(dataset, ["A hat.\nIt is  red.", "dog", " \n"], place)
    assert captions(changed) == expected
    assert captions(dataset) == ["red", "", "blue"]


def test_variants_pile_up_once_each_and_last_in_caption_files(dataset, tmp_path):
    variants = with_texts(dataset, ["one", "two", "three"], "add a variant")
    variants = with_texts(variants, ["one", "2", "3"], "add a variant")
    assert captions(variants) == ["red\none", "two\n2", "blue\nthree\n3"]
    write_captions(variants, tmp_path / "backups")
    assert captions(scan_folder(tmp_path, all_lines=True)) == captions(variants)


def test_every_line_of_a_caption_gets_the_text(dataset):
    variants = with_texts(dataset, ["one", "two", "three"], "add a variant")
    assert captions(with_texts(variants, ["x", "y", ""], "append", " ")) == [
        "red x\none x", "two y", "blue\nthree",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_another_number_of_texts_is_refused(dataset, count):
    with pytest.raises(ValueError, match=rf"{count} captions for 3 images.*Dataset to Images"):
        with_texts(dataset, ["x"] * count, "replace")
