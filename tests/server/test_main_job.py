"""The main job of `quickstart.py`, from ten pictures of a robot to a model that draws it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pack.demo.base_model import sprites
from pack.tests import likeness
from pack.trainer.lora_files.file import read_lora

STEPS = 100
RUN = "import sys, pathlib; from demo import run; run.WORKPLACE = pathlib.Path(sys.argv[1]); "
RUN += "sys.exit(run.main(sys.argv[2:]))"


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    """What it printed in the end, and its workplace: an own one, so that it really trains."""
    place, comfyui = tmp_path_factory.mktemp("demo"), os.environ["COMFYUI_PATH"]
    command = [sys.executable, "-c", RUN, str(place / "work"), "--comfyui", comfyui]
    command += ["--steps", str(STEPS), "--output", str(place / "out")]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    return [line.split(": ", 1) for line in ended.stdout.splitlines()[-5:]], place / "work"


def pixels(path):
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


@pytest.mark.slow
def test_it_ends_with_a_lora_and_pictures(done):
    files, _ = done
    assert [name for name, _ in files] == ["LoRA", "Image", "Previews", "Previews", "Loss plot"]
    paths = [Path(path) for _, path in files]
    assert read_lora(paths[0]).metadata["ss_max_train_steps"] == str(STEPS)
    assert pixels(paths[1]).shape == (512, 1032, 3)
    assert pixels(paths[-1]).shape == (512, 1024, 3)


@pytest.mark.slow
def test_the_model_draws_the_robot_after_the_training_and_not_before(done):
    picture = pixels(done[0][1][1])[::4, ::4]
    before, after = (likeness.art(half) for half in (picture[:, :128], picture[:, -128:]))
    assert likeness.distance(before, sprites.ROBOT) > 80
    assert likeness.distance(after, sprites.ROBOT) < 60


@pytest.mark.slow
def test_at_strength_0_a_cat_is_a_cat(done):
    (path,) = (done[1] / "small" / "output").rglob("step*100_1_strength0.png")
    cat = likeness.art(pixels(path))
    assert likeness.shown(cat) == ("blue", "cat")
    assert likeness.distance(cat, sprites.ROBOT) > 65
