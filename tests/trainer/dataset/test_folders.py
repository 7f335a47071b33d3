"""Which folders are read, and the stamp that sees every change without opening a file."""

import os

import pytest

from pack.tests.trainer.picture_folder import make_folder, picture
from pack.trainer.dataset.folders import folder_stamp
from pack.trainer.dataset.scan import scan_folder


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path / "data")


def tree(root, *names):
    for name in names:
        picture(root / name)
    return root


def rows(dataset):
    """Name, repeats and images of each subset."""
    return [(s.name, s.repeats, [p.path.name for p in s.samples]) for s in dataset.subsets]


def test_sub_folders_of_any_depth(tmp_path):
    tree(
        tmp_path / "set",
        *("a.png", "part10/b.png", "part2/c.png", "part2/deep/2/d.png", "3_cat/e.png"),
        *("3_cat/more/f.png", "3_cat/4_dog/g.png", "0_off/h.png", "0_off/sub/i.png"),
        *("masks/a.png", ".hidden/j.png", "part2/masks/c.png", "x.png/k.png"),
    )
    dataset = scan_folder(tmp_path / "set", repeats=5, recursive=True)
    assert rows(dataset) == [
        ("set", 5, ["a.png"]),
        ("3_cat", 3, ["e.png"]),
        ("3_cat/4_dog", 4, ["g.png"]),
        ("3_cat/more", 3, ["f.png"]),
        ("part2", 5, ["c.png"]),
        ("part2/deep/2", 5, ["d.png"]),
        ("part10", 5, ["b.png"]),
        ("x.png", 5, ["k.png"]),
    ]
    assert [s.class_tokens for s in dataset.subsets[:5]] == ["", "cat", "dog", "cat", ""]
    masks = {s.path.name: s.mask for _, s in dataset.samples() if s.mask}
    assert masks == {
        "a.png": tmp_path / "set" / "masks" / "a.png",
        "c.png": tmp_path / "set" / "part2" / "masks" / "c.png",
    }
    assert dataset.problems == ()
    flat = scan_folder(tmp_path / "set")
    assert [row[0] for row in rows(flat)] == ["set", "3_cat"]
    assert {problem.path.name for problem in flat.problems} == {"0_off", "part2", "part10", "x.png"}


def test_links_to_folders(tmp_path):
    """Loops end, what lies inside is read once and where it lies, what lies outside is read once."""
    tree(tmp_path / "set", "9_cat/a.png", "b.png")
    tree(tmp_path / "else", "c.png", "below/d.png")
    for name, target in [
        ("set/again", "set"),
        ("set/above", "."),
        ("set/1_same", "set/9_cat"),
        ("set/9_cat/loop", "set/9_cat"),
        ("set/out", "else"),
        ("set/out2", "else/below"),
        ("else/back", "else"),
    ]:
        (tmp_path / name).symlink_to(tmp_path / target, target_is_directory=True)
    found = rows(scan_folder(tmp_path / "set", recursive=True))
    assert found == [
        ("set", 1, ["b.png"]),
        ("9_cat", 9, ["a.png"]),
        ("out", 1, ["c.png"]),
        ("out/below", 1, ["d.png"]),
    ]
    assert folder_stamp(tmp_path / "set", recursive=True)


def test_a_date_is_no_number_of_repeats(tmp_path):
    tree(tmp_path, "20240101_beach/a.png", "9999_x/b.png", "c.png")
    assert rows(scan_folder(tmp_path))[1:] == [("9999_x", 9999, ["b.png"])]
    assert rows(scan_folder(tmp_path, recursive=True))[2] == ("20240101_beach", 1, ["a.png"])


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    tree(tmp_path, "a.png", "2_cat/b.png")
    scandir = os.scandir

    def refuse(folder):
        if os.fspath(folder).endswith("2_cat"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    (problem,) = scan_folder(tmp_path).problems
    assert problem.path.name == "2_cat" and "check its permissions" in problem.reason


def test_a_home_of_nobody_is_a_folder_that_does_not_exist():
    with pytest.raises(ValueError, match="does not exist"):
        scan_folder("~nobody-of-that-name/x")
    with pytest.raises(ValueError, match="does not exist"):
        scan_folder("x" * 300)


@pytest.mark.parametrize(
    "change", ["edit", "touch", "add", "other", "remove", "rename", "caption", "mask", "sub"]
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
        "other": lambda: picture(root / "new.gif"),
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
    (root / "a.npz").write_text("x")
    assert folder_stamp(root) == before
    assert folder_stamp(root, caption_extension=".caption") != before
    assert folder_stamp(tmp_path / "none") != folder_stamp(tmp_path / "other")
    assert folder_stamp(root, root) != before


def test_the_stamp_of_sub_folders(root):
    picture(root / "deep" / "er" / "a.png")
    plain, recursive = folder_stamp(root), folder_stamp(root, recursive=True)
    picture(root / "deep" / "er" / "b.png")
    assert folder_stamp(root) == plain != recursive != folder_stamp(root, recursive=True)


def test_the_stamp_opens_no_file(root, monkeypatch):
    monkeypatch.setattr("pathlib.Path.open", lambda *_: pytest.fail("a file was opened"))
    folder_stamp(root)


def test_a_folder_whose_name_is_no_text_gives_captions_that_are(tmp_path):
    folder = tmp_path / os.fsdecode(b"3_caf\xe9")
    try:
        picture(folder / "a.png")
    except OSError:
        pytest.skip("this file system has only names that are text")
    (subset,) = scan_folder(tmp_path).subsets
    assert (subset.name, subset.class_tokens, subset.root) == ("3_caf?", "caf?", folder)
    assert subset.samples[0].caption == "caf?"
