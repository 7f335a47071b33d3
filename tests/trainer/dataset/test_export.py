import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from pack.base.plain_names import why_not_plain
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.dataset.export import export_kohya
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.dataset.subsets import SubsetConfig, merged, with_options


def write(folder, names, captions=True):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        pixels = np.full((8, 8, 3), 7 * number + len(str(folder)), np.uint8)
        Image.fromarray(pixels).save(folder / name)
        if captions:
            (folder / name).with_suffix(".txt").write_text(f"caption of {name}", "utf-8")


@pytest.fixture
def dataset(tmp_path):
    write(tmp_path / "set" / "10_cat", ["a.png", "b.png"])
    write(tmp_path / "set" / "2_big dog", ["a.png"], captions=False)
    write(tmp_path / "set" / "10_cat" / "masks", ["b.png"], captions=False)
    write(tmp_path / "reg" / "1_animal", ["r.png"])
    return scan_folder(tmp_path / "set", reg_root=tmp_path / "reg")


def contents(dataset):
    return [
        (subset.repeats, subset.is_reg, sample.digest, sample.caption, sample.mask_digest)
        for subset, sample in dataset.samples()
    ]


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_an_export_reads_back_as_the_same_dataset(dataset, tmp_path):
    done = export_kohya(dataset, tmp_path / "exports", "mine")
    assert done.folder == tmp_path / "exports" / "mine" and done.is_new and done.lost == ()
    again = scan_folder(done.folder / "img", reg_root=done.folder / "reg")
    assert sorted(map(str, contents(again))) == sorted(map(str, contents(dataset)))
    assert {subset.name for subset in again.subsets} == {"10_cat", "2_big dog", "1_animal"}
    assert [p.name for p in (tmp_path / "exports").iterdir()] == ["mine"]


def test_captions_that_kohya_would_replace_are_written_even_when_empty(dataset, tmp_path):
    silent = dataset.with_captions(lambda _: "")
    folder = export_kohya(silent, tmp_path / "exports", "mine").folder
    assert (folder / "img" / "2_big dog" / "a.txt").read_bytes() == b"\n"


def test_an_unchanged_export_is_given_back_and_a_changed_one_goes_beside_it(dataset, tmp_path):
    root = tmp_path / "exports"
    first = export_kohya(dataset, root, "mine")
    before = files(root)
    again = export_kohya(dataset, root, "mine")
    assert not again.is_new and again.folder == first.folder and files(root) == before
    other = export_kohya(dataset.with_captions(lambda _: "new"), root, "mine")
    assert other.folder.name == "mine_2" and other.is_new
    assert (
        files(first.folder).items()
        <= {k.removeprefix("mine/"): v for k, v in before.items()}.items()
    )
    (root / "theirs").mkdir()
    (root / "theirs" / "file").write_text("kept")
    assert export_kohya(dataset, root, "theirs").folder.name == "theirs_2"
    assert list(files(root / "theirs")) == ["file"]


def test_names_that_meet_in_one_folder_are_told_apart(tmp_path):
    write(tmp_path / "x" / "10_cat", ["a.png"])
    write(tmp_path / "y" / "10_cat", ["A.png", "a.jpg", "a_2.png"])
    dataset = merged([scan_folder(tmp_path / "x"), scan_folder(tmp_path / "y")])
    folder = export_kohya(dataset, tmp_path / "exports", "mine").folder / "img" / "10_cat"
    names = sorted(path.name for path in folder.iterdir())
    assert len({name.casefold() for name in names}) == 8
    assert sorted(map(str, contents(scan_folder(folder.parent)))) == sorted(
        map(str, contents(dataset))
    )


def test_what_kohyas_folders_cannot_say_is_said(dataset, tmp_path):
    options = SubsetConfig(loss_weight=0.5, flip=True, captions=CaptionConfig(shuffle=True))
    report = export_kohya(with_options(dataset, options), tmp_path, "mine").text()
    assert all(word in report for word in ("loss weights", "caption settings", "flip"))


@pytest.mark.parametrize("name", ["", "..", "a/b", "a:b", " . "])
def test_a_name_that_is_no_folder_is_refused(dataset, tmp_path, name):
    with pytest.raises(ValueError, match="cannot name a folder"):
        export_kohya(dataset, tmp_path / "exports", name)
    assert not (tmp_path / "exports").exists()


def test_a_changed_picture_leaves_nothing_behind(dataset, tmp_path):
    _, sample = next(iter(dataset.samples()))
    Image.new("RGB", (9, 9)).save(sample.path)
    with pytest.raises(ValueError, match="changed since Load Dataset"):
        export_kohya(dataset, tmp_path / "exports", "mine")
    assert not (tmp_path / "exports").exists()


def test_a_failure_midway_leaves_nothing_behind(dataset, tmp_path):
    def fail(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_kohya(dataset, tmp_path / "exports", "mine", fail)
    assert list((tmp_path / "exports").iterdir()) == []


def test_an_empty_dataset_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match="no images to export"):
        export_kohya(dataclasses.replace(dataset, subsets=()), tmp_path, "mine")


NO_NAMES = (
    "CON", "nul", "Aux.v2", "com1", "mine.", "mi\nne", "mine\n", ".mine", "a\0b", "a\x1bb", "a\\b", "../../mine", "/mine",
    "C:mine", "mine:stream", "x" * 250, "\ud800", "a\u202eb",
)  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_some_system_cannot_take_is_refused(dataset, tmp_path, name):
    with pytest.raises(ValueError, match=r"cannot name a folder: .*\. Use letters"):
        export_kohya(dataset, tmp_path / "exports", name)
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize(
    "words", ["../../out", "/out", "a:b", "a/b", "\\out", "x" * 300, "a\0b", "..", "a."]
)
@pytest.mark.parametrize("field", ["name", "class_tokens"])
@pytest.mark.parametrize("is_reg", [False, True])
def test_words_of_a_subset_lead_nowhere(dataset, tmp_path, words, field, is_reg):
    changes = {"class_tokens": "", "is_reg": is_reg, field: words}
    subsets = tuple(dataclasses.replace(subset, **changes) for subset in dataset.subsets)
    before = {path for path in tmp_path.rglob("*") if "exports" not in path.parts}
    folder = export_kohya(
        dataclasses.replace(dataset, subsets=subsets), tmp_path / "exports", "mine"
    ).folder
    assert {path for path in tmp_path.rglob("*") if "exports" not in path.parts} == before
    kinds = {path.name for path in folder.iterdir() if path.is_dir()}
    assert kinds == {"reg" if is_reg else "img"}
    homes = [home for kind in kinds for home in (folder / kind).iterdir()]
    assert not any(why_not_plain(home.name) for home in homes)
    assert sum(len(list(home.glob("*.txt"))) for home in homes) == dataset.image_count


def test_a_place_that_is_a_link_elsewhere_is_not_written_to(dataset, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "mine").symlink_to(tmp_path / "elsewhere")
    assert export_kohya(dataset, tmp_path / "exports", "mine").folder.name == "mine_2"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_long_names_that_meet_stay_within_what_a_disk_takes(tmp_path):
    for place in ("x/10_cat", "y/10_cat"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / place / f"{'a' * 250}.png")
    dataset = merged([scan_folder(tmp_path / "x"), scan_folder(tmp_path / "y")])
    folder = export_kohya(dataset, tmp_path / "exports", "mine").folder
    assert len(list(folder.rglob("*.png"))) == len(list(folder.rglob("*.txt"))) == 2


def renamed(dataset, **changes):
    return dataclasses.replace(
        dataset, subsets=tuple(dataclasses.replace(s, **changes) for s in dataset.subsets)
    )


def test_the_same_images_under_other_names_are_another_export(dataset, tmp_path):
    root = tmp_path / "exports"
    first = export_kohya(dataset, root, "mine")
    shutil.copytree(tmp_path / "set", tmp_path / "again")
    moved = scan_folder(tmp_path / "again", reg_root=tmp_path / "reg")
    assert not export_kohya(moved, root, "mine").is_new  # elsewhere, but it would write the same
    (tmp_path / "again" / "10_cat" / "a.png").rename(tmp_path / "again" / "10_cat" / "c.png")
    (tmp_path / "again" / "10_cat" / "a.txt").rename(tmp_path / "again" / "10_cat" / "c.txt")
    others = [
        renamed(dataset, class_tokens="lion"),
        scan_folder(tmp_path / "again", reg_root=tmp_path / "reg"),
    ]
    folders = [first.folder]
    for other in others:
        done = export_kohya(other, root, "mine")
        assert done.is_new
        assert not export_kohya(other, root, "mine").is_new
        folders.append(done.folder)
    assert len(set(folders)) == 3
    assert {path.name for path in (folders[1] / "img").iterdir()} == {"10_lion", "2_lion"}
    assert (folders[2] / "img" / "10_cat" / "c.png").exists()


def test_numbers_that_mean_the_same_are_one_export(dataset, tmp_path):
    first = export_kohya(dataset, tmp_path / "exports", "mine")
    other = dataset.replace_samples(lambda sample: dataclasses.replace(sample, weight=np.int64(1)))
    assert export_kohya(other, tmp_path / "exports", "mine").folder == first.folder
