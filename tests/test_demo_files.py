"""The stand-in tagger and images are what they claim to be."""

import csv

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from pack.demo import pictures, tiny_tagger


@pytest.fixture(scope="module")
def tag(tmp_path_factory):
    folder = tiny_tagger.write(tmp_path_factory.mktemp("tagger"))
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    with (folder / "selected_tags.csv").open(encoding="utf-8") as file:
        names = [row["name"] for row in csv.DictReader(file)]

    def run(*colours):
        batch = np.empty((len(colours), 448, 448, 3), np.float32)
        batch[:] = np.array(colours, np.float32)[:, None, None, :]
        (output,) = session.run(None, {session.get_inputs()[0].name: batch})
        return [{n for n, p in zip(names, row, strict=True) if p > 0.35} for row in output]

    return run


def test_tags_follow_the_colours_in_bgr(tag):
    red, blue, grey = tag((0, 0, 255), (255, 0, 0), (200, 200, 200))
    assert "red_theme" in red and "blue_theme" not in red
    assert "blue_theme" in blue and "red_theme" not in blue
    assert {"greyscale", "bright"} <= grey
    assert all("general" in tags and "explicit" not in tags for tags in (red, blue, grey))


def test_pictures_are_mixed(tmp_path):
    files = sorted(pictures.write(tmp_path).iterdir())
    opened = [Image.open(file) for file in files]
    assert len(files) == 8
    assert {picture.format for picture in opened} == {"PNG", "JPEG", "WEBP", "BMP"}
    assert [picture.mode for picture in opened].count("L") == 1
    assert len({picture.size for picture in opened}) >= 7
    shapes = {np.sign(picture.width - picture.height) for picture in opened}
    assert shapes == {-1, 0, 1}
    for picture in opened:
        picture.close()
