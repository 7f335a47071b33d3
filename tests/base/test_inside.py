"""Where a writer may write: below its folder, wherever links lead."""

import os
from pathlib import Path

import pytest

from pack.base.inside import OutsideError, inside, is_inside


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name, target in (
        ("out", tmp_path / "elsewhere"),
        ("up", tmp_path),
        ("in", tmp_path / "root" / "real"),
        ("dangling", tmp_path / "nowhere"),
        ("file", tmp_path / "elsewhere" / "file"),
    ):
        (tmp_path / "root" / name).symlink_to(target)
    (tmp_path / "link").symlink_to(tmp_path / "root")
    return tmp_path / "root"


@pytest.mark.parametrize("place", ["a", "new/b/a", "real/a", "in/a", "in/../a", "file", "out"])
def test_what_lies_below(root, place):
    assert inside(root / place, root) == root / place
    assert inside(root.parent / "link" / place, root) and inside(root / place, root.parent / "link")


@pytest.mark.parametrize(
    "place",
    [
        "..", "../a", "../root", "../root2/a", "real/../../a", "out/a", "out/b/a", "dangling/a", "up/root/../a", "in/../../a",
        "real/..", "", ".",
    ],
)  # fmt: skip
def test_what_does_not(root, place):
    with pytest.raises(OutsideError, match=r"is not written: it leads to .* outside of"):
        inside(root / place, root)


@pytest.mark.parametrize("place", ["out", "file", "dangling", "out/a"])
def test_a_link_in_the_place_of_the_file_counts_where_it_is_followed(root, place):
    assert not is_inside(root / place, root, follow=True)
    assert is_inside(root / "in", root, follow=True) and is_inside(root / "new", root, follow=True)


def test_a_relative_path(root, monkeypatch):
    monkeypatch.chdir(root)
    assert inside(Path("a"), Path()) and inside(Path("real", "a"), root)
    with pytest.raises(OutsideError):
        inside(Path(os.pardir, "a"), Path())
