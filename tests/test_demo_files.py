"""The stand-in tagger and images are what they claim to be."""

import csv
import importlib
import os
import sys

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from pack import bootstrap
from pack.demo import pictures, run, tiny_tagger


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


def test_folders_that_are_allowed_on_the_command_line_reach_the_server(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bootstrap", bootstrap)  # as `python quickstart.py` finds it
    quickstart, called = importlib.import_module("pack.quickstart"), []
    monkeypatch.setattr(bootstrap, "find_comfyui", lambda *_: tmp_path)
    monkeypatch.setattr(quickstart, "_python_for", lambda *_: sys.executable)
    monkeypatch.setattr(quickstart, "_call", lambda command: called.append(command) or 0)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    quickstart.main([part for folder in folders for part in ("--allow", str(folder))])
    ((_, *arguments),) = called
    for before, after in (("", []), (str(tmp_path), [tmp_path])):
        monkeypatch.setenv(run.ALLOWED, before)
        run.allow(run._parse(arguments[2:]).allow)
        assert os.environ[run.ALLOWED].split(os.pathsep) == [*map(str, after), *map(str, folders)]
