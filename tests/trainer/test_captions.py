import json

import pytest
from PIL import Image

from pack.trainer.captions import caption_path, read_caption, write_captions
from pack.trainer.scan import scan_folder


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for place, name in enumerate(["a", "b", "c"]):
        Image.new("RGB", (16, 16), (place, 0, 0)).save(root / f"{name}.png")
    (root / "a.txt").write_text("old a\nsecond line of a\n", encoding="utf-8")
    (root / "b.txt").write_bytes("älter\r\n".encode("utf-16"))
    return root


@pytest.mark.parametrize(
    ("data", "caption"),
    [
        (b" one, two \nthree", "one, two"),
        (b"\xef\xbb\xbfone\r\nx", "one"),
        ("日本語, b".encode("utf-16"), "日本語, b"),
        ("tag".encode("utf-16-be").join([b"\xfe\xff", b""]), "tag"),
        (b"", ""),
        (b"\nlater", ""),
        ("a\u2028b".encode(), "a\u2028b"),
    ],
)
def test_encodings(tmp_path, data, caption):
    (tmp_path / "a.txt").write_bytes(data)
    assert read_caption(tmp_path / "a.txt") == caption


def test_another_encoding_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes("日本語".encode("shift-jis"))
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8.*save it as UTF-8"):
        read_caption(tmp_path / "a.txt")


def test_the_face_box_ending_may_be_left_off(tmp_path):
    picture = tmp_path / "girl_5_6_7_8.png"
    assert caption_path(picture, ".txt") == tmp_path / "girl_5_6_7_8.txt"
    (tmp_path / "girl.txt").write_text("x")
    assert caption_path(picture, ".txt") == tmp_path / "girl.txt"
    (tmp_path / "girl_5_6_7_8.txt").write_text("x")
    assert caption_path(picture, ".txt") == tmp_path / "girl_5_6_7_8.txt"
    assert caption_path(picture, ".txt", frozenset({"girl.txt"})) == tmp_path / "girl.txt"


def test_only_what_changed_is_written_and_the_old_text_is_kept(folder, tmp_path):
    dataset = scan_folder(folder).with_captions({folder / "a.png": "new a", folder / "c.png": "c"})
    before_b = (folder / "b.txt").read_bytes()
    report = write_captions(dataset, tmp_path / "backup")
    assert report.written == (folder / "a.txt", folder / "c.txt")
    assert report.unchanged == 1
    assert (folder / "a.txt").read_bytes() == b"new a\n"
    assert (folder / "b.txt").read_bytes() == before_b
    (kept,) = report.backups
    assert kept.read_text() == "old a\nsecond line of a\n"
    table = json.loads((kept.parents[1] / "restore.json").read_text())
    assert table == {f"0/{kept.name}": str(folder / "a.txt")}
    assert sorted(p.name for p in folder.iterdir()) == [
        "a.png",
        "a.txt",
        "b.png",
        "b.txt",
        "c.png",
        "c.txt",
    ]
    assert "2 caption file(s) written, 1 unchanged" in report.text()


def test_writing_twice_writes_once(folder, tmp_path):
    odd = {folder / "a.png": "\ufeff two\r\nlines ", folder / "b.png": ""}
    dataset = scan_folder(folder).with_captions(odd)
    assert len(write_captions(dataset, tmp_path / "backup").written) == 2
    assert write_captions(dataset, tmp_path / "backup").written == ()
    again = scan_folder(folder)
    assert [s.caption for _, s in again.samples()] == ["two lines", "", ""]
    assert write_captions(again, tmp_path / "backup").written == ()
    assert not (folder / "c.txt").exists()


def test_equal_names_in_two_folders_keep_both_texts(tmp_path):
    for side, text in [("train", "t"), ("reg", "r")]:
        home = tmp_path / side / "1_dog"
        home.mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(home / "a.png")
        (home / "a.txt").write_text(text)
    dataset = scan_folder(tmp_path / "train", reg_root=tmp_path / "reg")
    report = write_captions(dataset.with_captions(lambda _: "new"), tmp_path / "backup")
    assert sorted(path.read_text() for path in report.backups) == ["r", "t"]


def test_two_pictures_with_one_caption_file_must_agree(folder, tmp_path):
    Image.new("RGB", (16, 16)).save(folder / "a.bmp")
    dataset = scan_folder(folder)
    with pytest.raises(ValueError, match="share the caption file"):
        write_captions(dataset.with_captions(lambda s: s.path.name), tmp_path / "backup")
    assert (folder / "a.txt").read_text() == "old a\nsecond line of a\n"
    assert write_captions(dataset, tmp_path / "backup").written == ()


def test_a_failed_backup_leaves_every_caption(folder, tmp_path):
    (tmp_path / "backup").write_text("a file, no folder")
    dataset = scan_folder(folder).with_captions(lambda s: "new")
    with pytest.raises(OSError):
        write_captions(dataset, tmp_path / "backup")
    assert read_caption(folder / "a.txt") == "old a"
    assert not (folder / "c.txt").exists()
