import os
import time

import pytest
from PIL import Image, ImageFile

from pack.tests.trainer.picture_folder import make_folder, picture
from pack.trainer.dataset import images, scan
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.files.index import FileIndex


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path / "data")


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


def test_a_caption_whose_name_differs_in_case_is_found_unless_it_is_anothers(tmp_path):
    for name in ("a.png", "B.JPG", "c.png", "C.png", "d.png"):
        picture(tmp_path / name)
    for name in ("a.TXT", "b.txt", "c.txt", "d.txt", "D.txt", "e.txt"):
        (tmp_path / name).write_text(name)
    dataset = scan_folder(tmp_path)
    assert captions(dataset) == {
        **{"a.png": "a.TXT", "B.JPG": "b.txt", "c.png": "c.txt", "C.png": "", "d.png": "d.txt"}
    }
    paths = {s.path.name: s.caption_path.name for _, s in dataset.samples()}
    assert (paths["a.png"], paths["B.JPG"], paths["C.png"]) == ("a.TXT", "b.txt", "C.txt")


def test_the_first_of_two_masks_is_taken(root):
    for name in ("img2.png", "img2.bmp", "img2.webp"):
        picture(root / "masks" / name)
    (sample,) = (s for _, s in scan_folder(root).samples() if s.path.name == "img2.jpg")
    assert sample.mask == root / "masks" / "img2.bmp"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_pipes_are_no_files(root):
    """Opening one would wait for ever."""
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "d.txt")
    dataset = scan_folder(root)
    assert captions(dataset)["d.bmp"] == "" and "pipe.png" not in captions(dataset)


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


def test_pictures_of_other_kinds_are_named_and_videos_are_not(root):
    picture(root / "moving.GIF")
    picture(root / "scan.tiff")
    picture(root / "d.tif")  # its copy d.bmp is read
    dataset = scan_folder(root)
    assert len(captions(dataset)) == 5
    assert [(problem.path.name, problem.reason) for problem in dataset.problems] == [
        ("moving.GIF", "GIF files are not read; save the frame that you want as PNG or JPEG"),
        ("scan.tiff", "TIFF files are not read; save it as PNG or JPEG"),
    ]
    (root / "only").mkdir()
    picture(root / "only" / "scan.tiff")
    with pytest.raises(ValueError, match=r"scan\.tiff: TIFF files are not read"):
        scan_folder(root / "only")


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.avif"])
def test_rarer_endings_are_read(tmp_path, name):
    kind = "AVIF" if name == "a.avif" else "JPEG"
    Image.new("RGB", (32, 24), "red").save(tmp_path / name, kind)
    assert captions(scan_folder(tmp_path)) == {name: ""}


def test_a_file_that_is_cut_off_is_listed_whatever_other_packs_allow(root, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for name in ("img2.jpg", "img10.PNG", "d.bmp"):
        (root / name).write_bytes((root / name).read_bytes()[:-40])
    assert list(captions(scan_folder(root))) == ["b.webp", "c.JPEG"]
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


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
        (lambda p: p.mkdir(), "No usable images"),
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


def test_all_lines_of_a_caption(root):
    (root / "d.txt").write_text(" first \n\n second, line\r\n ")
    read = captions(scan_folder(root, all_lines=True))
    assert read["d.bmp"] == "first\nsecond, line" and read["img2.jpg"] == "two, tags\nand more"
    assert captions(scan_folder(root))["d.bmp"] == "first"
    assert all(sample.all_lines for _, sample in scan_folder(root, all_lines=True).samples())


def test_what_is_gone_is_forgotten(root, tmp_path):
    picture(root / "2_dog" / "a.png")
    picture(root / "masks" / "d.png")
    for path in root.rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    index = FileIndex(tmp_path / "index.json")
    scan_folder(root, index=index)
    assert set(index._table()) == {str(root), str(root / "2_dog"), str(root / "masks")}
    (root / "c.JPEG").unlink()
    (root / "masks" / "d.png").unlink()
    (root / "2_dog" / "a.png").unlink()
    (root / "2_dog").rmdir()
    scan_folder(root, index=index)
    known = {name for names in index._table().values() for name in names}
    assert known == {"b.webp", "d.bmp", "img2.jpg", "img10.PNG"}


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
