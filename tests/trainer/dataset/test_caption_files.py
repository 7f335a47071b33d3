import dataclasses
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from pack.trainer.dataset.caption_files import (
    caption_ending,
    caption_name,
    read_caption,
    write_captions,
)
from pack.trainer.dataset.scan import scan_folder


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
        ("\ufeff\ufeff \ufeffone\u3000\n".encode(), "one"),
        ("\ufeff\ufeffone".encode("utf-16"), "one"),
    ],
)
def test_encodings(tmp_path, data, caption):
    (tmp_path / "a.txt").write_bytes(data)
    assert read_caption(tmp_path / "a.txt") == caption


@pytest.mark.parametrize(
    ("data", "first", "all_lines"),
    [
        (b"one\ntwo", "one", "one\ntwo"),
        (b"\r\n one \r\n\r\ntwo\r three\r\n", "", "one\ntwo\nthree"),
        (b" \n \n", "", ""),
        ("one\x0btwo\u2028\nthree\x85".encode(), "one\x0btwo", "one\x0btwo\nthree"),
    ],
)
def test_one_line_or_all(tmp_path, data, first, all_lines):
    (tmp_path / "a.txt").write_bytes(data)
    assert read_caption(tmp_path / "a.txt") == first
    assert read_caption(tmp_path / "a.txt", all_lines=True) == all_lines


@pytest.mark.parametrize("encoding", ["shift-jis", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_another_encoding_is_named(tmp_path, encoding):
    text = "café" if encoding == "latin-1" else "日本語, cat"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8.*save it as UTF-8"):
        read_caption(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("names", "caption"),
    [
        ([], "girl_5_6_7_8.txt"),
        (["girl.txt"], "girl.txt"),
        (["girl.txt", "girl_5_6_7_8.txt"], "girl_5_6_7_8.txt"),
        (["girl_5.txt", "girl.caption"], "girl_5_6_7_8.txt"),
    ],
)
def test_the_face_box_ending_may_be_left_off(names, caption):
    assert caption_name("girl_5_6_7_8.png", ".txt", names) == caption
    assert caption_name("a.b_6_7_8.png", ".txt", ["a.txt"]) == "a.b_6_7_8.txt"


def test_only_what_changed_is_written_and_the_old_text_is_kept(folder, tmp_path):
    dataset = scan_folder(folder).with_captions({folder / "a.png": "new a", folder / "c.png": "c"})
    before_b = (folder / "b.txt").read_bytes()
    report = write_captions(dataset, tmp_path / "backup")
    assert report.written == (folder / "a.txt", folder / "c.txt")
    assert report.unchanged == 1
    assert (folder / "a.txt").read_bytes() == b"new a\nsecond line of a\n"
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
    with pytest.raises(ValueError, match=r"cannot be copied to .*backup.*Nothing was written"):
        write_captions(dataset, tmp_path / "backup")
    assert read_caption(folder / "a.txt") == "old a"
    assert not (folder / "c.txt").exists()


ODD = {
    "spaces": b"  one , two  ",
    "bom": b"\xef\xbb\xbfone, two",
    "two boms": "\ufeff\ufeff one".encode(),
    "crlf": b"one\r\ntwo\r\n\r\n",
    "cr": b"one\rtwo",
    "lines": b"tags, here\n\nA sentence.\n  Another one.\n",
    "empty": b"",
    "blank first": b"\n\nsecond",
    "separators": "a\u2028b\u2029c\x0bd\x85".encode(),
    "kaomoji": b"smile, :,(, ;_;, ||_||, (o)_(o), ^_^,,",
    "utf-16": "älter, one\r\ntwo".encode("utf-16"),
}


@pytest.fixture
def odd(tmp_path):
    root = tmp_path / "odd"
    root.mkdir()
    for name, data in ODD.items():
        Image.new("RGB", (16, 16)).save(root / f"{name}.png")
        (root / f"{name}.txt").write_bytes(data)
    return root


def contents(root):
    return {path.stem: path.read_bytes() for path in root.glob("*.txt")}


@pytest.mark.parametrize("all_lines", [False, True])
def test_odd_captions_that_are_not_edited_stay_to_the_byte(odd, tmp_path, all_lines):
    dataset = scan_folder(odd, all_lines=all_lines)
    assert write_captions(dataset, tmp_path / "backup").written == ()
    assert contents(odd) == ODD and not (tmp_path / "backup").exists()


@pytest.mark.parametrize("all_lines", [False, True])
def test_what_is_saved_is_what_is_loaded(odd, tmp_path, all_lines):
    edited = scan_folder(odd, all_lines=all_lines).with_captions(lambda s: f"new, {s.caption}")
    assert len(write_captions(edited, tmp_path / "backup").written) == len(ODD)
    again = scan_folder(odd, all_lines=all_lines)
    assert [s.caption.strip() for _, s in again.samples()] == [
        s.caption.strip() for _, s in edited.samples()
    ]
    assert write_captions(again, tmp_path / "backup").written == ()


def test_further_lines_stay_when_the_first_changes(odd, tmp_path):
    dataset = scan_folder(odd).with_captions(lambda s: "new")
    write_captions(dataset, tmp_path / "backup")
    saved = contents(odd)
    assert saved["lines"] == b"new\n\nA sentence.\n  Another one.\n"
    assert saved["crlf"] == b"new\r\ntwo\r\n\r\n" and saved["cr"] == b"new\rtwo"
    assert saved["utf-16"] == b"new\r\ntwo" and saved["blank first"] == b"new\n\nsecond"
    assert saved["spaces"] == saved["empty"] == saved["bom"] == b"new\n"


def test_all_lines_are_written_line_by_line(odd, tmp_path):
    dataset = scan_folder(odd, all_lines=True)
    lines = {odd / "lines.png": "a, b\n\n c ", odd / "crlf.png": "only one", odd / "cr.png": ""}
    report = write_captions(dataset.with_captions(lines), tmp_path / "backup")
    assert len(report.written) == 3
    saved = contents(odd)
    assert (saved["lines"], saved["crlf"], saved["cr"]) == (b"a, b\nc\n", b"only one\n", b"\n")
    again = scan_folder(odd, all_lines=True)
    assert {s.path.stem: s.caption for _, s in again.samples()}["lines"] == "a, b\nc"


def test_files_that_cannot_be_written_are_named_and_the_others_are_written(
    folder, tmp_path, monkeypatch
):
    replace = Path.replace

    def fail(partial, path):
        if path.name == "b.txt" and path.parent == folder:
            raise OSError(28, "No space left on device")
        return replace(partial, path)

    monkeypatch.setattr(Path, "replace", fail)
    dataset = scan_folder(folder).with_captions(lambda s: "new")
    with pytest.raises(ValueError, match=r"1 of 3 .*b\.txt: No space left") as told:
        write_captions(dataset, tmp_path / "backup")
    assert f"2 earlier text(s) kept in {tmp_path / 'backup'}" in str(told.value)
    assert read_caption(folder / "a.txt") == read_caption(folder / "c.txt") == "new"
    assert read_caption(folder / "b.txt") == "älter"
    assert len(list(folder.iterdir())) == 6
    monkeypatch.setattr(Path, "replace", replace)
    assert write_captions(dataset, tmp_path / "backup").written == (folder / "b.txt",)


def test_a_folder_in_the_place_of_a_caption_is_named(folder, tmp_path):
    (folder / "c.txt").mkdir()
    with pytest.raises(ValueError, match=r"1 of 3 .*c\.txt"):
        write_captions(scan_folder(folder).with_captions(lambda s: "new"), tmp_path / "backup")


def test_a_caption_that_cannot_be_read_is_not_emptied(folder, tmp_path):
    dataset = scan_folder(folder).with_captions(lambda s: "")
    (folder / "a.txt").write_bytes("日本語".encode("shift-jis"))
    write_captions(dataset, tmp_path / "backup")
    assert (folder / "a.txt").read_bytes() == "日本語".encode("shift-jis")


def test_captions_reach_the_disk_before_their_names(folder, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(handle))
    write_captions(scan_folder(folder).with_captions(lambda s: "new"), tmp_path / "backup")
    assert len(synced) == 3


@pytest.mark.parametrize(
    "ending", [".txt", ".caption", ".tags.txt", ".tags.json", ".wd14", ".booru_tags"]
)
def test_an_ending_of_texts(ending):
    assert caption_ending(ending) == caption_ending(ending[1:]) == ending


@pytest.mark.parametrize(
    "ending",
    [
        "", ".", "..", "/x.txt", "/../../custom_nodes/x.py", "a/../../x.txt", "\\x.txt", "..\\x.txt", ".txt.", ".txt ", ".txt\n",
        ".txt\0", ":x.txt", ".t?t", ".py", "py", ".PY", ".txt.py", ".pth", ".bat", ".sh", ".html", ".yaml", ".lnk", ".png",
        ".jpeg", ".safetensors", "x" * 250, ".\ud800",
    ],
)  # fmt: skip
def test_an_ending_that_no_caption_file_has(tmp_path, ending):
    folder = tmp_path / "set"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    with pytest.raises(ValueError, match="cannot be the ending of caption files") as told:
        scan_folder(folder, caption_extension=ending)
    assert not isinstance(told.value, UnicodeError)


@pytest.mark.parametrize(
    "place",
    ["../out.txt", "../../out.txt", "link/out.txt", "a.py", "a.png", "{top}/elsewhere/out.txt"],
)
def test_a_caption_is_written_beside_its_image_or_nothing_is(tmp_path, place):
    """Whatever a dataset says: the writer looks for itself."""
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    before = sorted(tmp_path.rglob("*"))
    odd = folder / place.format(top=tmp_path)
    dataset = scan_folder(folder).replace_samples(
        lambda s: dataclasses.replace(
            s, caption="new", caption_path=odd if s.path.stem == "b" else s.caption_path
        )
    )
    with pytest.raises(ValueError, match=r"is not written|cannot be the ending"):
        write_captions(dataset, tmp_path / "backup")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_is_too_long_is_told(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / f"{'a' * 250}.png")
    dataset = scan_folder(tmp_path, caption_extension=".caption").with_captions(lambda _: "new")
    with pytest.raises(ValueError, match=r"too long for the name of a caption file.*nothing was"):
        write_captions(dataset, tmp_path / "backup")


def test_a_caption_that_is_a_link_stays_one_and_its_target_is_written(folder, tmp_path):
    target = tmp_path / "elsewhere" / "shared.txt"
    target.parent.mkdir()
    target.write_text("old")
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to("../elsewhere/shared.txt")
    asked = []
    dataset = scan_folder(folder).with_captions(lambda s: f"new {s.path.stem}")
    (folder / "c.txt").symlink_to(tmp_path / "elsewhere" / "new.txt")  # not there yet
    report = write_captions(dataset, tmp_path / "backup", asked.append)
    assert (folder / "a.txt").is_symlink() and (folder / "c.txt").is_symlink()
    assert (folder / "a.txt").readlink() == Path("../elsewhere/shared.txt")
    assert target.read_text() == "new a\n" and target.with_name("new.txt").read_text() == "new c\n"
    assert [list(folders) for folders in asked] == [[target.parent, folder]]
    assert b"old" in {kept.read_bytes() for kept in report.backups}


@pytest.mark.parametrize("name", ["main.py", "settings.json", "run.bat", "x", "a.txt.exe"])
def test_a_link_to_what_is_no_caption_is_refused(folder, tmp_path, name):
    (tmp_path / name).write_text("a program")
    (folder / "c.txt").symlink_to(tmp_path / name)
    dataset = scan_folder(folder).with_captions(lambda _: "new")
    with pytest.raises(ValueError, match=rf"{name}: no caption file by its name, so nothing was"):
        write_captions(dataset, tmp_path / "backup")
    assert (tmp_path / name).read_text() == "a program" and (folder / "c.txt").is_symlink()
    assert read_caption(folder / "a.txt") == "old a" and not (tmp_path / "backup").exists()


def test_a_link_that_leads_round_in_a_circle_is_refused(folder, tmp_path):
    dataset = scan_folder(folder).with_captions(lambda _: "new")
    (folder / "c.txt").symlink_to("c.txt")
    with pytest.raises(ValueError, match=r"c\.txt: no caption file"):
        write_captions(dataset, tmp_path / "backup")
    assert (folder / "c.txt").is_symlink()


def test_two_links_to_one_file_must_agree(folder, tmp_path):
    (folder / "c.txt").symlink_to("a.txt")
    with pytest.raises(ValueError, match=r"share the caption file .*a\.txt"):
        write_captions(
            scan_folder(folder).with_captions(lambda s: s.path.name), tmp_path / "backup"
        )
    write_captions(scan_folder(folder).with_captions(lambda s: "one"), tmp_path / "backup")
    assert read_caption(folder / "a.txt") == "one" and (folder / "c.txt").is_symlink()


def test_an_image_and_a_folder_that_are_links_have_their_captions_beside_the_link(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    (tmp_path / "d.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "d.png").symlink_to(tmp_path / "d.png")
    asked = []
    dataset = scan_folder(link).with_captions(lambda _: "new")
    write_captions(dataset, tmp_path / "backup", asked.append)
    assert (folder / "d.txt").read_text() == "new\n" and not (tmp_path / "d.txt").exists()
    assert [list(folders) for folders in asked] == [[link]] and link.is_symlink()


def test_another_name_of_the_same_file_keeps_its_text(folder, tmp_path):
    os.link(folder / "a.txt", tmp_path / "other.txt")
    write_captions(scan_folder(folder).with_captions(lambda _: "new"), tmp_path / "backup")
    assert (tmp_path / "other.txt").read_text() == "old a\nsecond line of a\n"


@pytest.mark.parametrize("extension", [".py", ".json", ".js", ".bat", ".toml", ".txt.sh", "."])
def test_only_captions_are_written_whatever_is_read_as_one(folder, tmp_path, extension):
    (folder / f"a{extension}").write_text("a program")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    told = r"no caption file by its name.*caption_extension|cannot be the ending of caption files"
    with pytest.raises(ValueError, match=told):
        dataset = scan_folder(folder, caption_extension=extension)
        write_captions(dataset.with_captions(lambda _: "new"), tmp_path / "backup")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_who_refuses_is_asked_before_anything_is_written(folder, tmp_path):
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def refuse(folders):
        assert list(folders) == [folder]
        raise ValueError("not there")

    dataset = scan_folder(folder)
    assert write_captions(dataset, tmp_path / "backup", refuse).written == ()  # nothing to write
    with pytest.raises(ValueError, match="not there"):
        write_captions(dataset.with_captions(lambda _: "new"), tmp_path / "backup", refuse)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "backup").exists()
