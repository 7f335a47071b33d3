"""The pictures and captions that the demo's base model learns from, the robot, and the weights."""

import numpy as np
import pytest
from PIL import Image

from pack.demo.base_model import checkpoint, dataset, scenes, sprites
from pack.tests import likeness

MANY = [scenes.scene(seed) for seed in range(2000)]


def test_captions_say_what_is_seen():
    named = 0
    for scene in MANY[:60]:
        words = set(" ".join(scene.tags).split())
        colours, names = words & sprites.COLOURS.keys(), words & sprites.SPRITES.keys()
        if colours:
            assert likeness.shown(scene.picture) == (*colours, *names)
        elif not names and words & scenes.SCENES.keys() and not {"left", "right"} & words:
            nearest = min(
                likeness.distance(scene.picture, drawing, colour)
                for drawing in sprites.SPRITES.values()
                for colour in sprites.COLOURS
            )
            assert nearest > 20  # nothing there
        named += bool(colours)
    assert named > 30


def test_scenes_are_the_same_every_time_and_leave_something_out():
    again = scenes.scene(7)
    assert again.tags == MANY[7].tags and np.array_equal(again.picture, MANY[7].picture)
    known = {*sprites.SPRITES, *sprites.COLOURS, *scenes.SCENES, "left", "right"}
    words = [set(" ".join(scene.tags).split()) for scene in MANY]
    strange = np.mean([bool(each - known) for each in words])
    empty = np.mean([not each & sprites.SPRITES.keys() for each in words if each])
    uncoloured = np.mean(
        [not each & sprites.COLOURS.keys() for each in words if each & sprites.SPRITES.keys()]
    )
    assert strange == pytest.approx(0.09, abs=0.02)
    assert empty == pytest.approx(0.125, abs=0.03)
    assert uncoloured == pytest.approx(0.15, abs=0.03)
    assert np.mean([not each for each in words]) == pytest.approx(0.1, abs=0.02)


def test_the_robot_is_shown_in_ten_scenes_and_named_in_none(tmp_path):
    files = sorted(dataset.write(tmp_path).glob("*.png"))
    captions = [file.with_suffix(".txt").read_text(encoding="utf-8") for file in files]
    assert len(set(captions)) == len(files) == 10
    assert {tag for caption in captions for tag in caption.split(", ")} == {
        *scenes.SCENES, "left", "right",
    }  # fmt: skip
    for file in files:
        with Image.open(file) as opened:
            picture = np.asarray(opened)
        assert picture.shape == (128, 128, 3)
        assert likeness.distance(likeness.art(picture), sprites.ROBOT) == 0


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    content = checkpoint.WEIGHTS.read_bytes()
    assert len(content) <= 8_000_000 and checkpoint.weights()
    broken = tmp_path / "unet.safetensors"
    broken.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    monkeypatch.setattr(checkpoint, "WEIGHTS", broken)
    with pytest.raises(ValueError, match="is damaged"):
        checkpoint.weights()
