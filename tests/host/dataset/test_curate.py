"""Curate Dataset on a DATASET: what is found, what leaves, what is remembered."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from pack.demo import drawings, flaws
from pack.demo.pictures import photograph
from pack.nodes.host import progress
from pack.nodes.host.dataset import curate as curating
from pack.nodes.host.dataset import quality
from pack.tagger import CurateConfig
from pack.trainer.dataset.dataset import Dataset, Problem
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.sdxl.buckets import BucketConfig

OFF = dict.fromkeys(
    ("exact_duplicates", "near_duplicates", "blurred", "too_small", "extreme_aspect", "borders"),
    "off",
)
SMALL_BUCKETS = BucketConfig((256, 256), min_reso=128, max_reso=512, step=32)


def save(folder, name, picture, caption=None, **options):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / name, **options)
    if caption is not None:
        (folder / name).with_suffix(".txt").write_text(caption, "utf-8")


def curate(dataset, buckets=SMALL_BUCKETS, **options):
    """Kept file names, the sheet, the report; checks are off unless named."""
    config = CurateConfig(**{**OFF, **options})
    kept, sheet, report = curating.curate_dataset(dataset, config, buckets)
    return [sample.path.name for _, sample in kept.samples()], sheet, report


def lines(report, name):
    return [line.strip() for line in report.splitlines() if line.strip().startswith(name)]


@pytest.fixture
def folder(tmp_path):
    """Four different images with captions."""
    root = tmp_path / "set"
    for name in ("astronaut", "coffee", "camera"):
        save(root, f"{name}.png", photograph(f"{name}.png"), f"the {name}")
    save(root, "drawing.png", drawings.drawing(1), "a drawing")
    return root


def test_good_pictures_stay_and_the_sheet_says_so(folder):
    dataset = scan_folder(folder)
    kept, sheet, report = curating.curate_dataset(dataset, CurateConfig(), SMALL_BUCKETS)
    assert kept == dataset
    assert sheet.shape[1] < 128 < sheet.shape[2] and float(sheet.std()) > 0
    assert report.startswith("4 of 4 images kept, 0 left out\n")
    assert "diversity: 100% of 4 distinct training images look like no other" in report
    assert "exact duplicates (exclude): 0" in report and "blurred (report): 0" in report
    assert "unreadable" not in report


def test_the_same_pixels_leave_whatever_the_format(folder):
    shutil.copy(folder / "coffee.png", folder / "coffee_again.png")
    save(folder, "coffee_bitmap.bmp", photograph("coffee.png"), "the coffee")
    names, sheet, report = curate(scan_folder(folder), exact_duplicates="exclude")
    assert names == ["astronaut.png", "camera.png", "coffee.png", "drawing.png"]
    assert sheet.shape == (1, 224, 384, 3)
    assert lines(report, "set/coffee_again.png") == [
        "set/coffee_again.png: the same file as set/coffee.png; keep that one (the captions differ)"
    ]
    assert lines(report, "set/coffee_bitmap.bmp") == [
        "set/coffee_bitmap.bmp: the same pixels as set/coffee.png; keep that one"
    ]
    assert report.startswith("4 of 6 images kept, 2 left out")


def test_of_equal_pictures_the_captioned_one_stays(folder):
    (folder / "coffee.txt").unlink()
    save(folder, "later.png", photograph("coffee.png"), "a cup")
    names, _, _ = curate(scan_folder(folder), exact_duplicates="exclude")
    assert "later.png" in names and "coffee.png" not in names


def test_a_near_duplicate_is_reported_or_leaves_and_the_larger_stays(folder):
    small = flaws.jpeg(flaws.resized(photograph("astronaut.png"), 0.6), 70)
    save(folder, "a_smaller.jpg", small, "the astronaut")
    dataset = scan_folder(folder)
    names, sheet, report = curate(dataset, near_duplicates="report")
    assert len(names) == 5 and sheet.shape[1] < 128 < sheet.shape[2]
    (line,) = lines(report, "set/a_smaller.jpg")
    assert "% of it agrees (threshold 85%) with set/astronaut.png; keep that one" in line
    assert "diversity: 60% of 5" in report
    names, _, _ = curate(dataset, near_duplicates="exclude")
    assert "astronaut.png" in names and "a_smaller.jpg" not in names
    assert len(curate(dataset)[0]) == 5


def test_what_another_check_objects_to_is_not_the_one_that_stays(folder):
    """Enlarged to four times the pixels, but blurred: the original is better."""
    big = flaws.enlarged(flaws.resized(photograph("camera.png"), 2), 6, 2)
    save(folder, "big.png", big, "camera")
    dataset = scan_folder(folder)
    names, _, report = curate(dataset, near_duplicates="exclude", blurred="report")
    assert "camera.png" in names and "big.png" not in names
    assert len(lines(report, "set/big.png")) == 2
    names, _, _ = curate(dataset, near_duplicates="exclude")
    assert "big.png" in names and "camera.png" not in names


def test_pixels_count_before_bytes_and_bytes_before_order(folder):
    picture = photograph("chelsea.png")
    save(folder, "half.bmp", flaws.resized(picture, 0.8))
    save(folder, "poor.jpg", picture, quality=40)
    assert (folder / "half.bmp").stat().st_size > (folder / "poor.jpg").stat().st_size
    names, _, _ = curate(scan_folder(folder), near_duplicates="exclude")
    assert "poor.jpg" in names and "half.bmp" not in names
    save(folder, "rich.jpg", picture, quality=95)
    names, _, _ = curate(scan_folder(folder), near_duplicates="exclude")
    assert "rich.jpg" in names and not {"poor.jpg", "half.bmp"} & set(names)


def test_of_two_copies_one_always_stays(folder):
    """The larger is excluded for another reason, so the smaller, only reported, is kept."""
    small = flaws.resized(photograph("chelsea.png"), 0.45)
    save(folder, "small.png", small)
    save(folder, "large.png", flaws.gaussian(photograph("chelsea.png"), 3))
    checks = {"near_duplicates": "exclude", "blurred": "exclude", "too_small": "report"}
    names, _, report = curate(scan_folder(folder), **checks)
    assert "small.png" in names and "large.png" not in names
    assert "too small (report): 1" in report


def test_checks_that_are_off_are_not_made(folder, monkeypatch):
    shutil.copy(folder / "coffee.png", folder / "coffee_again.png")
    dataset = scan_folder(folder)
    names, _, report = curate(dataset, near_duplicates="exclude")
    assert "coffee_again.png" not in names and "exact duplicates" not in report
    assert "100% of it agrees" in report, "without the check for exact ones it is a near one"
    asked = []
    find = curating.find_copies
    monkeypatch.setattr(
        curating, "find_copies", lambda *given: asked.append(given[2]) or find(*given)
    )
    _, _, report = curate(dataset)
    assert asked == [None] and "near duplicates" not in report and "diversity: " in report


def test_each_picture_is_judged_by_its_numbers(folder):
    save(folder, "dull.png", flaws.gaussian(photograph("coffee.png"), 4))
    save(folder, "tiny.png", photograph("rocket.jpg")[:100, :100])
    save(folder, "wide.png", photograph("hubble_deep_field.jpg")[:150])
    framed = np.zeros((600, 512, 3), np.uint8)
    framed[44:556] = photograph("astronaut.png")
    save(folder, "framed.png", framed)
    dataset = scan_folder(folder)
    checks = {"blurred": "dull", "too_small": "tiny", "extreme_aspect": "wide", "borders": "framed"}
    everyone = sorted(path.name for path in folder.glob("*.png"))
    for check, culprit in checks.items():
        names, sheet, report = curate(dataset, **{check: "exclude"})
        assert names == [name for name in everyone if name != f"{culprit}.png"], check
        assert sheet.shape == (1, 224, 192, 3)
        assert len(lines(report, f"set/{culprit}.png")) == 1
    reports = {check: curate(dataset, **{check: "report"})[2] for check in checks}
    assert "px where it is sharpest (threshold 0.65)" in reports["blurred"]
    assert "100 x 100 is enlarged 2.56 times to fill 256 x 256" in reports["too_small"]
    assert "1000 x 150 loses 40.0% to the crop to 512 x 128" in reports["extreme_aspect"]
    assert (
        "bars take 14.7% (threshold 2%); crop to 512 x 512 at left 0, top 44" in reports["borders"]
    )


def test_buckets_and_thresholds_decide(folder):
    dataset = scan_folder(folder)
    names, _, report = curate(dataset, BucketConfig(), too_small="exclude")
    assert names == [] and report.startswith("0 of 4 images kept")
    assert "512 x 512 is enlarged 2.00 times to fill 1024 x 1024 (threshold 1.25)" in report
    names, _, _ = curate(dataset, BucketConfig(), too_small="exclude", upscale_threshold=2.0)
    assert names == ["astronaut.png", "camera.png", "drawing.png"]


def test_caption_and_mask_leave_with_their_picture(folder):
    save(folder, "small.jpg", flaws.resized(photograph("coffee.png"), 0.5), "small coffee")
    (folder / "masks").mkdir()
    for name in ("coffee", "small", "camera"):
        Image.new("L", (8, 8), 255).save(folder / "masks" / f"{name}.png")
    dataset = scan_folder(folder)
    assert sum(sample.mask is not None for _, sample in dataset.samples()) == 3
    config = CurateConfig(near_duplicates="exclude")
    kept, _, _ = curating.curate_dataset(dataset, config, SMALL_BUCKETS)
    assert kept == dataset.without([folder / "small.jpg"])


def test_training_and_regularisation_pictures_are_not_compared(folder, tmp_path):
    save(tmp_path / "reg", "same.png", photograph("coffee.png"))
    dataset = scan_folder(folder, reg_root=tmp_path / "reg")
    names, _, _ = curate(dataset, exact_duplicates="exclude", near_duplicates="exclude")
    assert len(names) == 5
    save(tmp_path / "reg", "twice.png", photograph("coffee.png"))
    dataset = scan_folder(folder, reg_root=tmp_path / "reg")
    names, _, report = curate(dataset, exact_duplicates="exclude")
    assert len(names) == 5 and "reg/twice.png: the same file as reg/same.png" in report
    assert "of 4 distinct training images" in report


def test_a_file_of_both_kinds_leaves_only_where_it_is_a_copy(folder):
    (training,) = scan_folder(folder).subsets
    camera = training.samples[1]
    again = dataclasses.replace(camera, path=folder / "again.png")
    shutil.copy(camera.path, again.path)
    training = dataclasses.replace(training, samples=(again, *training.samples))
    reg = dataclasses.replace(training, is_reg=True, samples=(camera,))
    names, _, _ = curate(Dataset((training, reg)), exact_duplicates="exclude")
    assert names == ["again.png", "astronaut.png", "coffee.png", "drawing.png", "camera.png"]


def test_folders_are_compared_but_a_file_is_no_copy_of_itself(folder, tmp_path):
    root = tmp_path / "folders"
    for name in ("1_one", "2_two"):
        save(root / name, f"{name}.png", photograph("coffee.png"))
    dataset = scan_folder(root)
    names, _, report = curate(dataset, exact_duplicates="exclude")
    assert names == ["1_one.png"] and "2_two/2_two.png: the same file as 1_one/1_one" in report
    kept, _, _ = curating.curate_dataset(dataset, CurateConfig(), SMALL_BUCKETS)
    assert kept.subsets == dataset.subsets[:1]
    once = scan_folder(folder)
    merged = Dataset(once.subsets + tuple(dataclasses.replace(s, repeats=3) for s in once.subsets))
    names, _, report = curate(merged, exact_duplicates="exclude", near_duplicates="exclude")
    assert len(names) == 8 and "copy" not in report
    save(folder, "copy.png", photograph("coffee.png"), "x")
    once = scan_folder(folder)
    names, _, _ = curate(Dataset(once.subsets * 2), exact_duplicates="exclude")
    assert names.count("coffee.png") == 2 and "copy.png" not in names


def test_what_vanished_or_broke_meanwhile_leaves_and_what_changed_stops(folder):
    dataset = scan_folder(folder)
    dataset = dataclasses.replace(dataset, problems=(Problem(folder / "bad.png", "it is broken"),))
    (folder / "coffee.png").unlink()
    (folder / "camera.png").write_bytes(b"no picture at all")
    names, sheet, report = curate(dataset)
    assert names == ["astronaut.png", "drawing.png"]
    assert sheet.shape == (1, 224, 384, 3)
    assert "unreadable (always left out): 2" in report
    assert lines(report, "set/coffee.png") == ["set/coffee.png: the file is gone"]
    assert "image, whatever its name says" in lines(report, "set/camera.png")[0]
    assert "left out before: 1\n  bad.png: it is broken" in report
    kept, _, _ = curating.curate_dataset(dataset, CurateConfig(**OFF), SMALL_BUCKETS)
    problems = kept.problems
    assert [problem.path.name for problem in problems] == ["bad.png", "camera.png", "coffee.png"]
    save(folder, "drawing.png", drawings.drawing(2))
    with pytest.raises(ValueError, match=r"drawing\.png changed since Load Dataset"):
        curate(dataset)


def test_other_thresholds_decode_nothing(folder, monkeypatch):
    save(folder, "soft.png", flaws.gaussian(photograph("chelsea.png"), 2))
    dataset = scan_folder(folder)
    everything = dict.fromkeys(OFF, "report")
    first = curate(dataset, **everything)
    decoded = []
    load = quality.load_rgb
    monkeypatch.setattr(
        quality, "load_rgb", lambda path, **how: decoded.append(path.name) or load(path, **how)
    )
    again = curate(dataset, **everything)
    assert (again[0], again[2]) == (first[0], first[2])
    assert "soft.png" not in curate(dataset, blurred="exclude")[0]
    assert "soft.png" in curate(dataset, blurred="exclude", blur_threshold=4)[0]
    assert decoded == []
    save(folder, "coffee.png", photograph("coffee.png")[:300], "the coffee")
    curate(scan_folder(folder))
    assert decoded == ["coffee.png"]


def test_cancelling_keeps_what_was_measured(folder, monkeypatch):
    dataset = scan_folder(folder)
    seen = []

    def cancel():
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(quality, "check_interrupt", cancel)
    with pytest.raises(KeyboardInterrupt):
        curate(dataset)
    monkeypatch.setattr(quality, "check_interrupt", progress.check_interrupt)
    loads = []
    load = quality.load_rgb
    monkeypatch.setattr(
        quality, "load_rgb", lambda path, **how: loads.append(path) or load(path, **how)
    )
    assert len(curate(dataset)[0]) == 4 and len(loads) <= 1
