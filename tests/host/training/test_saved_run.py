"""A run that was saved before the trainer became packages goes on, and gives the same LoRA."""

import csv
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pack.demo import tiny_sdxl
from pack.nodes.host import folders
from pack.nodes.host.training import train as training
from pack.replay.train import DELTA_BOUND, LOSS_BOUND, WEIGHT_BOUND
from pack.tests.host import scene
from pack.trainer.config.captions import CaptionConfig

pytestmark = pytest.mark.slow  # what it shows does not depend on the host's age

SAVED = Path(__file__).with_name("saved_run")
NAME = "6b679e4c9f2aa186"
STEP = 3
BLOCKS = (4, 8, 11, 16)


def by_block(value):
    """23 values, as the settings by block have them; those of other blocks are 0."""
    return tuple(type(value)(value if block in BLOCKS else 0) for block in range(23))


CONFIG = scene.config(
    steps=6, rank=1, learning_rate=1e-4, captions=CaptionConfig(shuffle=True, tag_dropout=0.2)
)
LORA = dataclasses.replace(CONFIG.lora, block_ranks=by_block(1), block_alphas=by_block(1.0))
CONFIG = dataclasses.replace(CONFIG, lora=LORA)


@pytest.fixture
def exact(tmp_path, monkeypatch, load_tiny):
    """The tiny SDXL with weights that are the same bytes on every machine.

    Those of `torch.randn` depend on the processor, and with them the fingerprint of the model: these
    are integers of NumPy's frozen generator, divided.
    """
    draws = np.random.RandomState(0)

    def draw(key, like, generator):
        if not like.is_floating_point() or like.dim() == 0:
            return like.clone()
        if like.dim() == 1:
            return torch.ones(like.shape) if key.endswith("weight") else torch.zeros(like.shape)
        fan_in = 1 if "embedding" in key else math.prod(like.shape[1:])
        numbers = draws.randint(-1774, 1775, tuple(like.shape), np.int64).astype(np.float32)
        return torch.from_numpy(numbers) / 1024 / math.sqrt(fan_in)

    monkeypatch.setattr(tiny_sdxl, "random_tensor", draw)
    return load_tiny(tiny_sdxl.write_checkpoint(tmp_path / "exact.safetensors"))


def train(exact, cached):
    with torch.inference_mode():
        return training.train_lora(scene.request(exact, cached, CONFIG, clip=exact.clip))[0]


def table(folder):
    with (folder / "steps.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def changes(lora):
    """What the LoRA adds to each weight, up to its scale, all in one vector."""
    ups = sorted(key for key in lora if key.endswith("lora_up.weight"))
    downs = [lora[key.replace("lora_up", "lora_down")].flatten(1) for key in ups]
    return torch.cat(
        [(lora[up].flatten(1) @ down).flatten() for up, down in zip(ups, downs, strict=True)]
    )


def check_curve(folder, losses):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = module.EventAccumulator(str(folder / "tensorboard")).Reload().Scalars("loss/step")
    assert [point.step for point in found] == list(range(1, len(losses) + 1))
    assert [point.value for point in found] == pytest.approx(losses)


def test_it_goes_on_and_gives_the_same_lora(exact, tmp_path, elsewhere, caplog):
    caplog.set_level("INFO")
    images = shutil.copytree(SAVED / "images", tmp_path / "another folder")
    cached = scene.cache(exact, images, tmp_path / "cache")
    shutil.copytree(SAVED / "runs", folders.runs_root())
    saved = folders.runs_root() / NAME
    (saved / "lock.json").write_text('{"host": "laptop", "pid": 4242}')  # as a kill leaves it
    inputs, before = json.loads((saved / "run.json").read_text())["inputs"], table(saved)
    assert len(before) == STEP and list(saved.glob(f"state-{STEP:08}-*.pt"))

    result = train(exact, cached)
    assert json.loads((result.path.parent / "run.json").read_text())["inputs"] == inputs
    assert result.path.parent == saved and len(list(folders.runs_root().glob("*/run.json"))) == 1
    assert f"run {NAME} goes on after step {STEP}" in caplog.text
    assert table(saved)[:STEP] == before and len(table(saved)) == CONFIG.steps
    assert result.losses[:STEP] == tuple(float(row["loss"]) for row in before)
    check_curve(saved, result.losses)

    elsewhere()
    whole = train(exact, cached)
    assert whole.path.parent.name == NAME and whole.path != result.path
    assert max(abs(a - b) for a, b in zip(result.losses, whole.losses, strict=True)) <= LOSS_BOUND
    assert result.lora.keys() == whole.lora.keys()
    change, expected = changes(result.lora), changes(whole.lora)
    assert (change - expected).norm() <= DELTA_BOUND * expected.norm()
    for key, value in whole.lora.items():
        assert (result.lora[key] - value).abs().max() <= WEIGHT_BOUND, key
    assert result.lora.metadata["ss_steps"] == str(CONFIG.steps)
