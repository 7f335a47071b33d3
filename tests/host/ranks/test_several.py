"""`torchrun headless.py train --config`: several processes make the LoRA of one, and end together."""

import os
import re
import subprocess
import sys
from pathlib import Path

import folder_paths
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.dataset.kohya_import import ConfigSource
from pack.nodes.host.training import from_config
from pack.nodes.host.training.from_config import ConfigRun
from pack.tests.host import kohya_scene
from pack.tests.host.conftest import COMFYUI
from pack.trainer.lora_files.file import read_lora

ROOT = Path(__file__).resolve().parents[3]

CHILD = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
import headless
headless._import_comfyui(cpu=True)
headless._pack()
import comfy.sd
from lora_loop.demo import tiny_sdxl
from lora_loop.trainer.training.loop import Loop
tiny_sdxl.register()
rank, steps = map(int, os.environ.get("KILLED", "-1 0").split())
apply = Loop._apply
def killed(loop, *arguments):
    if len(loop.losses) == steps and rank == int(os.environ["RANK"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return apply(loop, *arguments)
Loop._apply = killed
sys.exit(headless.main(sys.argv[1:]))
"""
"""The command line, in a ComfyUI that knows the tiny SDXL; KILLED is a rank, and after how many steps."""

LENGTH = "max_train_steps = 6"


@pytest.fixture(autouse=True)
def own_places(monkeypatch):
    """The config's output folder is this process's; ComfyUI's comes back after the test."""
    before = folder_paths.get_output_directory()
    monkeypatch.setattr(
        folders, "output_root", lambda: Path(folder_paths.get_output_directory()) / "lora_loop"
    )
    yield
    folder_paths.set_output_directory(before)


def write_config(folder, checkpoint):
    """Four images of two shapes, twice each, in batches of four: an epoch of two whole batches."""
    more = "seed = 3\nmax_grad_norm = 0.05\n"
    config = kohya_scene.write_config(folder, checkpoint, length=LENGTH, more=more)
    text = config.read_text("utf-8").replace("train_batch_size = 2", "train_batch_size = 4")
    config.write_text(text, "utf-8")
    return config


def alone(config):
    job = ConfigSource(str(config), bases=(config.parent,))
    return from_config.run(ConfigRun(job, config.parent))


def together(config, world, killed=""):
    """What torchrun gives with so many processes."""
    child = config.parent / "child.py"
    child.write_text(CHILD, "utf-8")
    environment = {**os.environ, "COMFYUI_PATH": str(COMFYUI), "PYTHONDONTWRITEBYTECODE": "1"}
    if killed:
        environment["KILLED"] = killed
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world),
        str(child), "train", "--config", str(config), "--directory", str(config.parent),
    ]  # fmt: skip
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=400, check=False
    )


def result(config):
    """The LoRA in full precision, and the steps of the states that are left."""
    (run,) = (config.parent / "data/output/lora_loop/runs").glob("[!.]*")
    states = sorted(int(path.name[6:14]) for path in run.glob("state-*.pt"))
    found = list(run.glob("steps-*.safetensors"))
    return (read_lora(found[0]) if found else None), states


def difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max()) for key in one)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_checkpoint):
    config = write_config(tmp_path_factory.mktemp("whole"), tiny_checkpoint)
    before = folder_paths.get_output_directory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            folders, "output_root", lambda: Path(folder_paths.get_output_directory()) / "lora_loop"
        )
        alone(config)
    folder_paths.set_output_directory(before)
    return result(config)[0]


@pytest.mark.slow
@pytest.mark.main_host
def test_two_processes_make_the_lora_of_one(tmp_path, tiny_checkpoint, whole):
    config = write_config(tmp_path, tiny_checkpoint)
    done = together(config, 2)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "data/output/name.safetensors"
    assert done.stdout.splitlines() == [str(path)] and path.is_file()
    assert difference(result(config)[0], whole) < 1e-5
    assert any(value.abs().max() > 1e-3 for key, value in whole.items() if "lora_up" in key)


@pytest.mark.slow
@pytest.mark.main_host
def test_who_is_killed_ends_all_and_any_number_goes_on(tmp_path, tiny_checkpoint, whole):
    config = write_config(tmp_path, tiny_checkpoint)
    done = together(config, 4, killed="3 2")
    assert done.returncode != 0
    assert "another process of this training has ended" in done.stderr
    assert result(config) == (None, [2])  # the last step that was done is on disk
    done = together(config, 2, killed="0 4")
    assert done.returncode != 0
    assert result(config) == (None, [2])  # rank 0 could save nothing more
    alone(config)
    lora, states = result(config)
    assert states[-1] == 6
    assert difference(lora, whole) < 1e-5


@pytest.mark.main_host
def test_a_number_that_does_not_fit_is_refused(tmp_path, tiny_checkpoint):
    config = write_config(tmp_path, tiny_checkpoint)
    job = ConfigSource(str(config), bases=(config.parent,))
    three = from_config.Ranks(0, 3)
    with pytest.raises(ValueError, match=re.escape("So many processes can: 1, 2, 4.")):
        from_config.run(ConfigRun(job, config.parent), three)


def test_nothing_remains_of_the_settings_of_one(tiny_checkpoint):
    del tiny_checkpoint
    assert not torch.distributed.is_initialized()
