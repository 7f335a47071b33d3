"""The main job of `quickstart.py`, from images to LoRA, image and plot."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from pack.trainer.lora_files.file import read_lora


@pytest.mark.slow
def test_it_ends_with_three_files(root, tmp_path):
    command = [sys.executable, "-m", "demo.run", "--comfyui", os.environ["COMFYUI_PATH"]]
    command += ["--steps", "4", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines()[-3:])
    assert list(lines) == ["LoRA", "Image", "Loss plot"]
    assert read_lora(lines["LoRA"]).metadata["ss_max_train_steps"] == "4"
    with Image.open(lines["Image"]) as picture, Image.open(lines["Loss plot"]) as plot:
        assert picture.width >= 2 * picture.height  # before | after
        assert plot.size == (1024, 512)
