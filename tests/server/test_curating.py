"""Curate Dataset in a real graph: what stays goes on, what leaves is shown, what is found is told."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pack.tests.server import graphs


@pytest.fixture
def flawed(dataset):
    """The example's folder with a copy, a blurred image and a broken file more."""
    with Image.open(dataset / "astronaut.png") as opened:
        opened.save(dataset / "again.bmp")
        opened.filter(ImageFilter.GaussianBlur(5)).rotate(90).save(dataset / "blurred.jpg")
    (dataset / "broken.png").write_bytes((dataset / "astronaut.png").read_bytes()[:5000])
    yield dataset
    for name in ("again.bmp", "blurred.jpg", "broken.png"):
        (dataset / name).unlink()


def curated(info, **values):
    """Load Dataset, Curate Dataset, its sheet as an image, and the kept set curated once more."""
    prompt = {}
    loaded = graphs.add(prompt, info, "load", "LoraLoopLoadDataset")
    kept = graphs.add(
        prompt, info, "curate", "LoraLoopCurateDataset", dataset=loaded, resolution=256,
        min_reso=128, max_reso=512, step=32, **values,
    )  # fmt: skip
    graphs.add(prompt, info, "sheet", "SaveImage", images=["curate", 1], filename_prefix="rejects")
    graphs.add(prompt, info, "again", "LoraLoopCurateDataset", dataset=kept)
    graphs.add(prompt, info, "grey", "SaveImage", images=["again", 1], filename_prefix="grey")
    return prompt


def sheet(server, entry, node):
    (path,) = server.outputs(entry, node)
    return np.asarray(Image.open(path))


@pytest.mark.old_host
def test_what_is_found_is_told_and_only_copies_leave(server, object_info, flawed):
    entry = server.run(curated(object_info))
    (report,) = entry["outputs"]["curate"]["text"]
    assert report.startswith("9 of 10 images kept, 1 left out\n")
    assert "astronaut.png: the same pixels as" in report or "again.bmp: the same pixels" in report
    assert "blurred (report): 1\n  lora_loop_example/blurred.jpg: blur radius" in report
    assert "left out before: 1\n  broken.png: " in report
    assert sheet(server, entry, "sheet").shape == (224, 192, 3)
    (report,) = entry["outputs"]["again"]["text"]
    assert report.startswith("9 of 9 images kept, 0 left out\n")
    told = sheet(server, entry, "grey")  # a sentence: none was left out
    assert told.shape[0] < 128 < told.shape[1] and np.ptp(told) > 128


def test_what_is_excluded_is_shown(server, object_info, flawed):
    entry = server.run(curated(object_info, blurred="exclude"))
    (report,) = entry["outputs"]["curate"]["text"]
    assert report.startswith("8 of 10 images kept, 2 left out\n")
    assert sheet(server, entry, "sheet").shape == (224, 384, 3)
    (report,) = entry["outputs"]["again"]["text"]
    assert "of 8 images kept" in report and "blurred.jpg" not in report


def test_a_picture_edited_on_disk_is_measured_again(server, object_info, flawed):
    prompt = curated(object_info)
    server.run(prompt)
    with Image.open(flawed / "coffee.webp") as opened:
        opened.resize((100, 60)).save(flawed / "coffee.webp")
    entry = server.run(prompt)
    (report,) = entry["outputs"]["curate"]["text"]
    assert "too small (report): 1\n  lora_loop_example/coffee.webp: 100 x 60 is enlarged" in report
