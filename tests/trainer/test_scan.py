import os
import time

import pytest
from PIL import Image

from pack.trainer import images, scan
from pack.trainer.file_index import FileIndex
from pack.trainer.scan import folder_stamp, scan_folder


def picture(path, size=(32, 24), colour=(1, 2, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    for name in ["img10.PNG", "img2.jpg", "b.webp", "c.JPEG", "d.bmp"]:
        picture(root / name, colour=(len(name), 0, 0))
    (root / "img2.txt").write_text("two, tags\nand more", encoding="utf-8")
    (root / "notes.md").write_text("no picture")
    picture(root / "skipped.gif")
    return root


def captions(dataset):
    return {sample.path.name: sample.caption for _, sample in dataset.samples()}


def test_a_flat_folder(root):
    dataset = scan_folder(root, repeats=3, default_caption="thing")
    (subset,) = dataset.subsets
    assert (subset.name, subset.repeats, subset.is_reg) == ("data", 3, False)
    assert list(captions(dataset)) == ["b.webp", "c.JPEG", "d.bmp", "img2.jpg", "img10.PNG"]
    assert captions(dataset)["img2.jpg"] == "two, tags"
    assert captions(dataset)["b.webp"] == "thing"
    sample = subset.samples[3]
    assert sample.path == root / "img2.jpg" and sample.size == (32, 24)
    assert sample.caption_path == root / "img2.txt"
    assert sample.stamp.size == (root / "img2.jpg").stat().st_size
    assert dataset.problems == ()


def test_kohyas_folders(tmp_path):
    for name in [
        "3_sks cat/a.png",
        "10_style_name_here/b.png",
        "no_repeat/z.png",
        "0_zero/q.png",
        "own.png",
    ]:
        picture(tmp_path / name)
    (tmp_path / "3_sks cat/a.caption").write_text("first")
    dataset = scan_folder(tmp_path, repeats=5, caption_extension="caption", default_caption="else")
    assert [(s.name, s.class_tokens, s.repeats) for s in dataset.subsets[1:]] == [
        ("3_sks cat", "sks cat", 3),
        ("10_style_name_here", "style_name_here", 10),
    ]
    assert (dataset.subsets[0].root, dataset.subsets[0].repeats) == (tmp_path, 5)
    assert captions(dataset) == {"own.png": "else", "a.png": "first", "b.png": "style_name_here"}
    assert [p.path.name for p in dataset.problems] == ["0_zero", "no_repeat"]
    assert "name it <repeats>_<name>" in dataset.problems[0].reason


def test_regularisation_pictures(tmp_path):
    picture(tmp_path / "t/2_dog/a.png")
    picture(tmp_path / "r/1_animal/b.png")
    dataset = scan_folder(tmp_path / "t", reg_root=tmp_path / "r")
    assert [(s.name, s.is_reg) for s in dataset.subsets] == [("2_dog", False), ("1_animal", True)]


def test_masks_lie_in_their_folder(root):
    mask = picture(root / "masks" / "img2.png")
    picture(root / "masks" / "b.png")
    (root / "masks" / "b.png").write_bytes(b"broken")
    dataset = scan_folder(root)
    by_name = {sample.path.name: sample for _, sample in dataset.samples()}
    assert by_name["img2.jpg"].mask == mask and by_name["img2.jpg"].mask_digest
    assert by_name["d.bmp"].mask is None
    assert [(p.path.name, p.reason[:21]) for p in dataset.problems] == [
        ("b.webp", "its mask cannot be us")
    ]


def test_broken_files_are_listed(root):
    (root / "img2.jpg").write_bytes((root / "img2.jpg").read_bytes()[:200])
    (root / "c.txt").write_bytes("日本語".encode("shift-jis"))
    (root / "zero.png").write_bytes(b"")
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "gone.png").symlink_to(root / "nowhere")
    dataset = scan_folder(root)
    reasons = {problem.path.name: problem.reason for problem in dataset.problems}
    assert list(captions(dataset)) == ["b.webp", "d.bmp", "img10.PNG"]
    assert set(reasons) == {"img2.jpg", "c.JPEG", "zero.png", "loop.png", "gone.png"}
    assert "c.txt is not UTF-8" in reasons["c.JPEG"]
    assert "gone" in reasons["gone.png"]


def test_odd_names(tmp_path):
    names = ["emoji 😀.png", "two  spaces.png", "x" * 200 + ".png", "comma, dot. .png"]
    for name in names:
        picture(tmp_path / name).with_suffix(".txt").write_text(name)
    picture(tmp_path / ".hidden.png")
    assert captions(scan_folder(tmp_path)) == {name: name for name in sorted(names)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_text(""), "is not a folder"),
        (lambda p: p.mkdir(), "No usable pictures"),
        (lambda p: picture(p / "cats" / "a.png"), "cats: sub-folder not read"),
        (lambda p: (p.mkdir(), (p / "a.png").write_bytes(b"x")), "a.png: it is not a PNG"),
    ],
)
def test_a_folder_without_pictures_is_told(tmp_path, make, said):
    make(tmp_path / "data")
    with pytest.raises(ValueError, match=said) as error:
        scan_folder(tmp_path / "data")
    assert str(tmp_path / "data") in str(error.value)
    picture(tmp_path / "ok" / "a.png")
    with pytest.raises(ValueError, match=said):
        scan_folder(tmp_path / "ok", reg_root=tmp_path / "data")


def test_repeats_must_be_positive(root):
    with pytest.raises(ValueError, match="Repeats must be at least 1"):
        scan_folder(root, repeats=0)


def test_an_unchanged_rerun_opens_no_picture(root, tmp_path, monkeypatch):
    for path in root.iterdir():
        os.utime(path, (time.time() - 100, time.time() - 100))
    first = scan_folder(root, index=FileIndex(tmp_path / "index.json"))
    opened = []
    inspect = images.inspect
    monkeypatch.setattr(scan.images, "inspect", lambda p, d: opened.append(p.name) or inspect(p, d))
    assert scan_folder(root, index=FileIndex(tmp_path / "index.json")) == first
    assert opened == []
    picture(root / "d.bmp", size=(8, 8))
    again = scan_folder(root, index=FileIndex(tmp_path / "index.json"))
    assert opened == ["d.bmp"]
    assert again.fingerprint() != first.fingerprint()


@pytest.mark.parametrize(
    "change", ["edit", "touch", "add", "remove", "rename", "caption", "mask", "sub"]
)
def test_the_stamp_sees_every_change(root, change):
    picture(root / "2_dog" / "a.png")
    picture(root / "2_dog" / "masks" / "a.png")
    before = folder_stamp(root)
    assert folder_stamp(root) == before
    {
        "edit": lambda: picture(root / "d.bmp", (9, 9)),
        "touch": lambda: os.utime(root / "d.bmp", ns=(1, 1)),
        "add": lambda: picture(root / "new.png"),
        "remove": lambda: (root / "d.bmp").unlink(),
        "rename": lambda: (root / "d.bmp").rename(root / "e.bmp"),
        "caption": lambda: (root / "d.txt").write_text("new"),
        "mask": lambda: picture(root / "2_dog" / "masks" / "a.png", (9, 9)),
        "sub": lambda: (root / "2_dog").rename(root / "3_dog"),
    }[change]()
    assert folder_stamp(root) != before


def test_the_stamp_ignores_other_files_and_missing_folders(root, tmp_path):
    before = folder_stamp(root)
    (root / "thumbs.db").write_text("x")
    (root / "a.caption").write_text("x")
    assert folder_stamp(root) == before
    assert folder_stamp(root, caption_extension=".caption") != before
    assert folder_stamp(tmp_path / "none") != folder_stamp(tmp_path / "other")
    assert folder_stamp(root, root) != before


def test_the_stamp_opens_no_file(root, monkeypatch):
    monkeypatch.setattr("pathlib.Path.open", lambda *_: pytest.fail("a file was opened"))
    folder_stamp(root)
