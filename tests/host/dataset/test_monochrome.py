"""Detect Monochrome on a DATASET: the policies, the table, and what is not decoded twice."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pack.nodes.host import folders
from pack.nodes.host.dataset import monochrome
from pack.nodes.host.dataset.monochrome import detect_monochrome
from pack.tagger import MonochromeConfig
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.files import small_store

HSV, LAB = MonochromeConfig(), MonochromeConfig(method="lab")


@pytest.fixture
def dataset(tmp_path):
    """A colour image, a grey one, a yellowed one, and the grey one again in another folder."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (40, 1))
    grey = np.repeat(ramp[:, :, None], 3, axis=2)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    pictures = {
        "colour": noise,
        "grey": grey,
        "yellowed": (grey * [1.0, 0.95, 0.8]).astype(np.uint8),
    }
    for folder, names in (("2_a", pictures), ("3_b", ["grey"])):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for name in names:
            Image.fromarray(pictures[name]).save(tmp_path / "set" / folder / f"{name}.png")
            (tmp_path / "set" / folder / f"{name}.txt").write_text(f"{name} {folder}", "utf-8")
    return scan_folder(tmp_path / "set")


def detect(dataset, options=LAB, policy="tag", weight=0.5):
    return detect_monochrome(dataset, options, policy, weight)


def captions(dataset):
    return [sample.caption for _, sample in dataset.samples()]


def test_tag_adds_the_kind_to_each_own_caption(dataset):
    changed, report, _ = detect(dataset)
    assert captions(changed) == [
        "colour 2_a", "grey 2_a, greyscale", "yellowed 2_a, monochrome", "grey 3_b, greyscale",
    ]  # fmt: skip
    assert report.startswith(
        "3 of 4 images have no colour; policy: tag\n  grey.png: greyscale (tint 0."
    )
    assert detect(changed)[0] == changed
    assert captions(detect(dataset, HSV)[0])[2] == "yellowed 2_a"


def test_exclude_leaves_them_out(dataset):
    changed, report, table = detect(dataset, policy="exclude")
    assert captions(changed) == ["colour 2_a"] and len(changed.subsets) == 1
    assert "policy: exclude" in report and len(table.split("\n")) == 5


def test_down_weight_multiplies_their_weight(dataset):
    heavy = dataset.replace_samples(lambda sample: replace(sample, weight=2.0))
    changed, _, _ = detect(heavy, policy="down-weight", weight=0.25)
    assert [sample.weight for _, sample in changed.samples()] == [2.0, 0.5, 0.5, 0.5]
    assert captions(changed) == captions(dataset)


@pytest.mark.parametrize(
    ("options", "names"),
    [(HSV, ["saturation mean", "hue deviation"]), (LAB, ["tint", "chroma beside it"])],
)
def test_the_table_has_the_numbers_of_all_pictures(dataset, options, names):
    rows = [line.split("\t") for line in detect(dataset, options)[2].split("\n")]
    assert rows[0] == ["folder", "picture", "kind", *names]
    assert [row[:3] for row in rows[1:]] == [
        ["2_a", "colour.png", "colour"],
        ["2_a", "grey.png", "greyscale"],
        ["2_a", "yellowed.png", "monochrome" if options == LAB else "colour"],
        ["3_b", "grey.png", "greyscale"],
    ]
    assert all(float(cell) >= 0 for row in rows[1:] for cell in row[3:])


def test_nothing_is_decoded_twice(dataset, monkeypatch):
    decoded = []
    examine = monochrome.examine
    monkeypatch.setattr(
        monochrome, "examine", lambda path, method: decoded.append(path) or examine(path, method)
    )
    first = detect(dataset)
    assert len(decoded) == 3  # one of the four is there twice
    again = detect(dataset, replace(LAB, chroma_threshold=0.0, tint_limit=1.0), "exclude")
    assert again[2].split("\n")[1:] != first[2].split("\n")[1:] and len(decoded) == 3
    assert detect(dataset) == first
    detect(dataset, HSV)
    assert len(decoded) == 6
    (folders.cache_root() / small_store.NAME).write_bytes(b"damaged")
    assert detect(dataset) == first and len(decoded) == 9


def test_a_picture_that_changed_or_broke_is_named(dataset):
    samples = [sample for _, sample in dataset.samples()]
    samples[0].path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"colour\.png changed since Load Dataset"):
        detect(dataset)
    broken = scan_folder(samples[0].path.parents[1])
    assert "colour.png" in broken.report()
    stat = samples[0].path.stat()
    same = replace(
        samples[0], stamp=samples[0].stamp._replace(size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    )
    unnoticed = dataset.replace_samples(lambda s: same if s.path == same.path else s)
    with pytest.raises(ValueError, match=r"Cannot read the image .*colour\.png"):
        detect(unnoticed)


def test_the_red_cross_stops_between_pictures(dataset, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(monochrome, "check_interrupt", stop)
    with pytest.raises(KeyboardInterrupt):
        detect(dataset)
