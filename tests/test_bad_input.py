"""Odd and broken files: used as a viewer shows them, or listed with the reason; `docs/bad_input.md` says which.

The tables of that page are made of the cases, so neither can say what the other does not.
"""

import os

import numpy as np
import pytest
from PIL import Image

from pack.tagger import read_rgb
from pack.tests import bad_files
from pack.tests.bad_moments import CAPTIONS, MOMENTS
from pack.tests.bad_pictures import LISTED, USED
from pack.trainer.dataset.images import load_rgb
from pack.trainer.dataset.scan import scan_folder

COLOURS_DIFFER = (
    "cmyk profile.jpg",
    "profile.png",
    "grey 16 profile.png",
    "grey alpha profile.png",
    "grey level profile.png",
    "grey rgb profile.png",
)  # taggers know no colour profiles, as kohya's


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """All the images in one folder."""
    folder = tmp_path_factory.mktemp("pictures")
    for case in (*USED, *LISTED):
        case.make(folder / case.name)
    return scan_folder(folder)


def test_nothing_else_is_used_or_listed(dataset):
    assert {s.path.name for _, s in dataset.samples()} == {case.name for case in USED}
    assert {p.path.name for p in dataset.problems} == {case.name for case in LISTED}


@pytest.mark.parametrize("case", USED, ids=lambda case: case.name)
def test_a_picture_is_used_with_the_pixels_that_a_viewer_shows(dataset, case):
    (sample,) = (s for _, s in dataset.samples() if s.path.name == case.name)
    wanted = case.pixels()
    shown = load_rgb(sample.path)
    assert shown.shape == wanted.shape and sample.size == wanted.shape[1::-1]
    assert np.abs(shown.astype(int) - wanted).max() <= case.near
    tagged = read_rgb(sample.path)
    assert tagged.shape == wanted.shape
    if case.name not in COLOURS_DIFFER:
        assert np.abs(tagged.astype(int) - wanted).max() <= case.near


@pytest.mark.parametrize("case", LISTED, ids=lambda case: case.name)
def test_a_picture_is_listed_with_the_reason(dataset, case):
    (reason,) = (p.reason for p in dataset.problems if p.path.name == case.name)
    assert case.reason in reason and "\n" not in reason
    assert f"  {case.name}: {reason}" in dataset.report().split("\n")


def test_a_name_that_is_no_text(tmp_path):
    try:
        bad_files.not_utf8(tmp_path / "a.png")
    except OSError:
        pytest.skip("this file system has only names that are text")
    ((_, sample),) = scan_folder(tmp_path).samples()
    assert os.fsencode(sample.path).endswith(b"caf\xe9.png")
    assert np.array_equal(load_rgb(sample.path), bad_files.base())


@pytest.mark.parametrize("case", CAPTIONS, ids=lambda case: case.what)
def test_a_caption_is_used_or_its_picture_listed(tmp_path, case):
    for name in ("a", "b"):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.txt").write_bytes(case.data)
    dataset = scan_folder(tmp_path)
    captions = {s.path.stem: s.caption for _, s in dataset.samples()}
    assert captions.get("b") == case.caption and captions["a"] == ""
    assert [p.path.name for p in dataset.problems] == ["b.png"] * (case.caption is None)
    assert all(f"b.txt {case.reason}" in p.reason for p in dataset.problems)


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.what)
def test_a_moment(tmp_path, monkeypatch, moment):
    folder = tmp_path / "set"
    folder.mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{name}.png")
    (folder / "b.txt").write_text("old b")
    assert moment.said in moment.happen(folder, monkeypatch)


def tables():
    """The tables of the page."""
    pictures = [(case.what, "used", case.shown) for case in USED]
    pictures += [(case.what, "listed", f"`{case.reason}`") for case in LISTED]
    captions = [
        (case.what, "used", f"`{case.caption}`" if case.caption else "an empty caption")
        if case.caption is not None
        else (case.what, "listed", f"`{case.reason}`")
        for case in CAPTIONS
    ]
    moments = [(m.what, m.outcome, f"`{m.said}`") for m in MOMENTS if "real file" not in m.what]
    rows = {"Images": pictures, "Captions": captions, "While the graph runs": moments}
    return "\n\n".join(
        "\n".join(
            [f"## {title}\n", "| what | outcome | how |", "|---|---|---|"]
            + [f"| {' | '.join(row)} |" for row in table]
        )
        for title, table in rows.items()
    )


def test_the_page_says_what_the_tests_say(root):
    page = (root / "docs" / "bad_input.md").read_text("utf-8")
    assert page[page.index("## ") :] == f"{tables()}\n", tables()
