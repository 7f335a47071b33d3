"""Text files of which no image makes use are told, with where the captions are looked for."""

import pytest
from PIL import Image

from pack.trainer.dataset.folders import folder_stamp
from pack.trainer.dataset.scan import scan_folder

CASES = {
    "another ending": (
        ["a.txt", "b.txt"], ".caption",
        ["2 .txt files not used (a.txt, b.txt): captions are .caption files, and 2 of 2 images have none"],
    ),
    "two endings": (
        ["a.txt", "a.nl", "b.nl", "b.txt"], ".txt",
        ["2 .nl files not used (a.nl, b.nl): captions are .txt files, and 0 of 2 images have none"],
    ),
    "the other way round": (
        ["a.caption", "b.txt"], ".txt",
        ["1 .caption file not used (a.caption): captions are .txt files, and 1 of 2 images have none"],
    ),
    "names of no image": (
        ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "notes.txt"], "txt",
        ["4 .txt files with the name of no image, not used: c.txt, d.txt, e.txt ..."],
    ),
    "upper case": (["a.TXT", "b.Txt"], ".txt", []),
    "an ending of one's own": (
        ["a.mine", "b.mine", "x.mine"], ".mine",
        ["1 .mine file with the name of no image, not used: x.mine"],
    ),
    "all used": (["a.txt"], ".txt", []),
    "no texts": (["a.npz", "a.safetensors"], ".txt", []),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(folder, case):
    names, extension, said = CASES[case]
    for name in names:
        (folder / name).write_text("x", "utf-8")
    dataset = scan_folder(folder, caption_extension=extension)
    assert [problem.reason for problem in dataset.problems] == said
    assert all(line in dataset.report() for line in said)


def test_captions_of_images_that_cannot_be_read_are_not_told(folder):
    (folder / "b.png").write_bytes(b"no image")
    Image.new("RGB", (8, 8)).save(folder / "c.gif")
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text("x", "utf-8")
    assert "not used" not in scan_folder(folder).report()


def test_a_face_box_may_be_left_off(folder):
    Image.new("RGB", (64, 64)).save(folder / "c_1_2_3_4.png")
    (folder / "c.txt").write_text("x", "utf-8")
    assert not scan_folder(folder).problems


def test_the_node_is_asked_again_when_one_comes(folder):
    before = folder_stamp(folder, caption_extension=".caption")
    (folder / "a.txt").write_text("x", "utf-8")
    assert folder_stamp(folder, caption_extension=".caption") != before
