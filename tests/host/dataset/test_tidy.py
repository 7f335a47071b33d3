"""Tidy Dataset in ComfyUI: what is known of files goes along, and the node sees that the disk changed."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from pack.nodes.host import folders
from pack.nodes.host.dataset import load as loading
from pack.nodes.host.dataset import tidy
from pack.tests.host import scene
from pack.trainer.renaming.plan import Naming

OPENED: list[Path] = []


def _audit(event, arguments):
    if event == "open" and isinstance(arguments[0], str | Path):
        OPENED.append(Path(arguments[0]))


sys.addaudithook(_audit)  # for the life of the process: there is no taking it out


@pytest.fixture
def pictures(tmp_path):
    root = scene.write_pictures(tmp_path / "set")
    (root / "masks").mkdir()
    Image.new("L", (64, 64)).save(root / "masks" / "picture_1.png")
    for path in root.rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    return root


def load(folder):
    dataset, _ = loading.load_dataset(loading.LoadConfig(str(folder)))
    return dataset


def test_no_picture_is_read_again_because_of_its_name(pictures):
    tidied, report = tidy.tidy_dataset(load(pictures), Naming("x"), "rename")
    assert "picture_1.png -> x0002.png" in report
    OPENED.clear()
    assert load(pictures) == tidied
    assert [path for path in OPENED if path.suffix == ".png"] == []
    back, _ = tidy.tidy_dataset(tidied, Naming("x"), "undo")
    OPENED.clear()
    assert load(pictures) == back
    assert [path for path in OPENED if path.suffix == ".png"] == []


def test_the_node_sees_every_renaming_and_undo(pictures):
    states = [tidy.renaming_state()]
    for mode in ("dry run", "rename", "rename", "undo", "undo", "rename"):
        tidy.tidy_dataset(load(pictures), Naming(), mode)
        states.append(tidy.renaming_state())
    assert states[0] == states[1] and states[2] == states[3] and states[4] == states[5]
    assert len(set(states)) == 4
    assert [path.suffix for path in folders.renames_root().iterdir()] == [".json"]


def test_a_bad_prefix_is_told_at_queue():
    assert "cannot be in a file name" in tidy.naming_problem("a/b", 1, 4)
    assert tidy.naming_problem("a ", 1, 4) == tidy.naming_problem(None, 1, 4) == ""
