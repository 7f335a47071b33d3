import os
import re
from dataclasses import replace

import pytest
from PIL import Image

from pack.trainer.dataset.caption_files import write_captions
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.renaming import journal
from pack.trainer.renaming.plan import Naming
from pack.trainer.renaming.tidy import tidy


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "set"
    for number, name in enumerate(["b2.png", "b10.png", "3_cat/x.jpg", "3_cat/0001.png"]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16 + number), (number, 0, 0)).save(path)
    (root / "b2.txt").write_text("two")
    (root / "3_cat" / "x.txt").write_text("cat, x")
    (root / "masks").mkdir()
    Image.new("L", (16, 16)).save(root / "masks" / "b10.png")
    return root


def run(root, mode, naming=None, **options):
    return tidy(scan_folder(root, **options), naming or Naming(), mode, root.parent / "journals")


def snapshot(root):
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def digests(root):
    """Everything about a dataset but its paths."""
    return scan_folder(root).fingerprint()


def test_a_dry_run_tells_every_file_and_writes_nothing(root):
    before = snapshot(root)
    dataset, report = run(root, "dry run")
    assert dataset == scan_folder(root)
    assert report.split("\n") == [
        "6 file(s) would be renamed",
        f"{root}:",
        "  b2.png -> 0001.png",
        "  b2.txt -> 0001.txt",
        "  b10.png -> 0002.png",
        f"{root / 'masks'}:",
        "  b10.png -> 0002.png",
        f"{root / '3_cat'}:",
        "  x.jpg -> 0002.jpg",
        "  x.txt -> 0002.txt",
    ]
    assert snapshot(root) == before and not (root.parent / "journals").exists()


def test_the_dataset_follows_its_files(root):
    dataset, report = run(root, "rename")
    assert report.startswith("6 file(s) renamed\n")
    assert dataset == scan_folder(root)  # paths, stamps, captions, masks: as if read again
    assert [s.path.name for _, s in dataset.samples()] == [
        *("0001.png", "0002.png", "0001.png", "0002.jpg"),
    ]


def test_a_caption_that_is_not_written_yet_goes_to_the_new_name(root):
    dataset, _ = run(root, "rename", caption_extension=".tags.txt")
    write_captions(dataset.with_captions(lambda s: "new"), root.parent / "backup")
    assert {path.name for path in root.glob("*.tags.txt")} == {"0001.tags.txt", "0002.tags.txt"}


def test_tidying_twice_changes_nothing(root):
    dataset, _ = run(root, "rename")
    before, journals = snapshot(root), list((root.parent / "journals").iterdir())
    again, report = tidy(dataset, Naming(), "rename", root.parent / "journals")
    assert again == dataset and report == "all files have these names"
    assert run(root, "rename")[1] == run(root, "dry run")[1] == report
    assert snapshot(root) == before and list((root.parent / "journals").iterdir()) == journals


def test_undo_brings_the_old_names_back_once(root):
    before, dataset = snapshot(root), scan_folder(root)
    run(root, "rename", Naming("first "))
    run(root, "rename")
    assert len(list((root.parent / "journals").iterdir())) == 1
    middle = snapshot(root)
    back, report = run(root, "undo")
    assert back == scan_folder(root)
    assert snapshot(root).keys() != middle.keys() and "7 file(s) renamed back" in report
    assert {name.split("/")[-1][:5] for name in snapshot(root)} == {"first"}
    assert run(root, "undo")[1] == "there is no renaming to undo here"
    assert {name.split("/")[-1][:5] for name in snapshot(root)} == {"first"}
    assert sorted(snapshot(root).values()) == sorted(before.values())
    assert digests(root) == dataset.fingerprint()


def test_undo_of_a_first_renaming(root):
    before, dataset = snapshot(root), scan_folder(root)
    tidied, _ = run(root, "rename")
    back, _ = tidy(tidied, Naming(), "undo", root.parent / "journals")
    assert snapshot(root) == before
    assert {s.path: s for _, s in back.samples()} == {s.path: s for _, s in dataset.samples()}


@pytest.mark.parametrize("mode", ["rename", "undo"])
@pytest.mark.parametrize("step", [1, 4, 8, 12])
def test_after_a_kill_the_dataset_still_loads_and_the_graph_ends_once(
    root, monkeypatch, mode, step
):
    before = snapshot(root)
    done = []

    def killed(source, target):
        if len(done) == step:
            raise Killed
        done.append(source)
        source.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_rename", killed)
        with pytest.raises((Killed, ValueError)):  # the twelfth rename is the last
            run(root, "rename")
            raise ValueError("not killed")
    if step == 12:
        assert run(root, "dry run")[1] == "all files have these names"
        return
    assert scan_folder(root).image_count == 4
    dataset, report = run(root, "dry run")
    assert dataset == scan_folder(root) and "6 file(s) was interrupted here" in report
    with pytest.raises(ValueError, match=r"interrupted here is (taken back|finished) now\. Queue"):
        run(root, mode)
    if mode == "undo":
        assert snapshot(root) == before
    else:
        assert run(root, "rename")[1] == "all files have these names"
        assert run(root, "undo")[1].startswith("6 file(s) renamed back")
        assert snapshot(root) == before


def test_a_file_that_is_in_use_puts_all_back(root, monkeypatch):
    before = snapshot(root)
    rename = journal._rename

    def busy(source, target):
        if source.name == "x.jpg":
            raise PermissionError(13, "The process cannot access the file")
        rename(source, target)

    monkeypatch.setattr(journal, "_rename", busy)
    with pytest.raises(ValueError, match=r"cannot access the file.*names of before again"):
        run(root, "rename")
    assert snapshot(root) == before
    monkeypatch.undo()
    assert run(root, "undo")[1] == "there is no renaming to undo here"
    run(root, "rename")


def test_an_undo_that_cannot_be_done_leaves_the_new_names(root, monkeypatch):
    run(root, "rename")
    after = snapshot(root)
    rename = journal._rename

    def busy(source, target):
        if target.name == "b10.png":
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(journal, "_rename", busy)
    with pytest.raises(ValueError, match="names of before again"):
        run(root, "undo")
    assert snapshot(root) == after
    monkeypatch.undo()
    assert "renamed back" in run(root, "undo")[1]


def test_what_cannot_be_put_back_waits_between_two_names(root, monkeypatch):
    before, calls = snapshot(root), []

    def stuck(source, target):
        calls.append(source)
        if len(calls) > 3:
            raise OSError(5, "Input/output error")
        source.rename(target)

    monkeypatch.setattr(journal, "_rename", stuck)
    with pytest.raises(ValueError, match=r"Nor could all be put back.*choose rename.*or\s+undo"):
        run(root, "rename")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="is taken back now"):
        run(root, "undo")
    assert snapshot(root) == before


def test_without_an_undo_file_nothing_is_renamed(root):
    before = snapshot(root)
    (root.parent / "journals").write_text("a file, no folder")
    with pytest.raises(ValueError, match=r"undo file cannot be written.*Nothing was renamed"):
        run(root, "rename")
    assert snapshot(root) == before


def test_one_folder_twice_in_a_dataset_is_renamed_once(root):
    dataset = scan_folder(root)
    twice = replace(dataset, subsets=(*dataset.subsets, *dataset.subsets))
    tidied, report = tidy(twice, Naming(), "rename", root.parent / "journals")
    assert report.startswith("6 file(s)")
    assert tidied.subsets[2:] == tidied.subsets[:2] == scan_folder(root).subsets


def test_a_folder_reached_by_a_link_keeps_its_path(root):
    link = root.parent / "link"
    link.symlink_to(root, target_is_directory=True)
    tidied, _ = tidy(scan_folder(link), Naming(), "rename", root.parent / "journals")
    assert tidied == scan_folder(link)
    assert "renamed back" in run(root, "undo")[1]


def test_many_files(root):
    for number in range(150):
        os.link(root / "b2.png", root / f"c{number}.png")
    dataset, report = run(root, "rename", Naming("x", 1, 2))
    assert [s.path.name for s in dataset.subsets[0].samples][-1] == "x152.png"
    assert len(re.findall(" -> ", report)) == 157
    assert scan_folder(root) == dataset
