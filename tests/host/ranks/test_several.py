"""`train --config` in several processes: they make the LoRA of one, end together, and any number goes on."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import folder_paths
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.dataset.kohya_import import ConfigSource
from pack.nodes.host.model.fingerprint import fingerprint
from pack.nodes.host.ranks.other_ranks import check_same, help_train
from pack.nodes.host.training import from_config
from pack.nodes.host.training.from_config import ConfigRun, Loaded
from pack.tests.host import kohya_scene
from pack.tests.host.conftest import COMFYUI
from pack.tests.trainer.several import together
from pack.trainer.device.ranks import ALONE, RankLost, Ranks
from pack.trainer.lora_files.file import read_lora
from pack.trainer.runs.run_folder import Inputs
from pack.trainer.runs.start_from import Start
from pack.trainer.training.loop import Loop

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
try_step = Loop._try
def killed(loop, *arguments):
    if len(loop.losses) == 2 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return try_step(loop, *arguments)
Loop._try = killed
sys.exit(headless.main(sys.argv[1:]))
"""
"""The command line, in a ComfyUI that knows the tiny SDXL; rank 1 is killed in its third step."""


@contextmanager
def own_places():
    """The config's output folder is this process's; ComfyUI's comes back in the end."""
    before = folder_paths.get_output_directory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            folders, "output_root", lambda: Path(folder_paths.get_output_directory()) / "lora_loop"
        )
        yield
    folder_paths.set_output_directory(before)


@pytest.fixture(autouse=True)
def in_own_places():
    with own_places():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_checkpoint):
    """The LoRA of one process."""
    config = write_config(tmp_path_factory.mktemp("whole"), tiny_checkpoint)
    with own_places():
        train(config)
    return left_by(config)[0]


def write_config(folder, checkpoint):
    """Four images of two shapes, twice each, in batches of four; captions are shuffled, a preview is drawn."""
    more = (
        "seed = 3\nmax_grad_norm = 0.05\nshuffle_caption = true\nsample_every_n_steps = 4\n"
        'sample_prompts = "prompt.txt"\n'
    )
    config = kohya_scene.write_config(folder, checkpoint, length="max_train_steps = 6", more=more)
    text = config.read_text("utf-8").replace("train_batch_size = 2", "train_batch_size = 4")
    for name in ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"):
        text = text.replace(f"{name} = true\n", "")
    config.write_text(text.replace("learning_rate = 3e-3", "learning_rate = 1e-3"), "utf-8")
    (folder / "prompt.txt").write_text("thing --w 64 --h 64 --s 1\n", "utf-8")
    return config


def train(config, ranks=ALONE):
    """What `headless.py train` does as one of these ranks."""
    job = ConfigRun(ConfigSource(str(config), bases=(config.parent,)), config.parent)
    return from_config.run(job, ranks) if ranks.leads else help_train(job, ranks)


def killing(config, victim, steps):
    """The work of a rank, of which the victim is killed after so many steps."""

    def work(ranks):
        try_step = Loop._try

        def killed(loop, *arguments):
            if ranks.rank == victim and len(loop.losses) == steps:
                os.kill(os.getpid(), signal.SIGKILL)
            return try_step(loop, *arguments)

        Loop._try = killed
        return train(config, ranks)

    return work


def left_by(config):
    """The LoRA in full precision, if there is one, and the steps of the states that are left."""
    (run,) = (config.parent / "data/output/lora_loop/runs").glob("[!.]*")
    states = sorted(int(path.name[6:14]) for path in run.glob("state-*.pt"))
    found = list(run.glob("steps-*.safetensors"))
    return (read_lora(found[0]) if found else None), states


def difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def torchrun(config, world, child):
    file = config.parent / "child.py"
    file.write_text(child, "utf-8")
    environment = {**os.environ, "COMFYUI_PATH": str(COMFYUI), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world),
        str(file), "train", "--config", str(config), "--directory", str(config.parent),
    ]  # fmt: skip
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.mark.slow
@pytest.mark.main_host
def test_two_processes_make_the_lora_of_one_and_find_it_again(tmp_path, tiny_checkpoint, whole):
    config = write_config(tmp_path, tiny_checkpoint)
    path = tmp_path / "data/output/name.safetensors"
    assert together(2, lambda ranks: train(config, ranks)) == [path, None]
    lora, states = left_by(config)
    assert difference(lora, whole) < 1e-5
    assert max(float(value.abs().max()) for key, value in whole.items() if "lora_up" in key) > 1e-3
    assert states[-1] == 6
    written = path.stat().st_mtime_ns
    assert together(2, lambda ranks: train(config, ranks)) == [path, None]
    assert path.stat().st_mtime_ns == written


@pytest.mark.slow
@pytest.mark.main_host
def test_whoever_is_killed_any_number_goes_on(tmp_path, tiny_checkpoint, whole):
    config = write_config(tmp_path, tiny_checkpoint)
    found = together(4, killing(config, victim=3, steps=2))
    assert [type(one) for one in found] == [RankLost, RankLost, RankLost, type(None)]
    assert left_by(config) == (None, [2])  # no finished step is lost
    found = together(2, killing(config, victim=0, steps=4))
    assert [type(one) for one in found] == [type(None), RankLost]
    assert left_by(config) == (None, [2])  # nobody was there to save more
    train(config)
    lora, states = left_by(config)
    assert states[-1] == 6
    assert difference(lora, whole) < 1e-5


@pytest.mark.slow
@pytest.mark.main_host
def test_torchrun_ends_and_the_state_is_saved(tmp_path, tiny_checkpoint, whole):
    config = write_config(tmp_path, tiny_checkpoint)
    done = torchrun(config, 2, CHILD)
    assert done.returncode != 0
    assert "another process of this training has ended" in done.stderr
    assert left_by(config) == (None, [2])
    train(config)
    assert difference(left_by(config)[0], whole) < 1e-5


@pytest.mark.main_host
def test_what_does_not_fit_is_refused(tmp_path, tiny_checkpoint):
    config = write_config(tmp_path, tiny_checkpoint)
    with pytest.raises(ValueError, match=re.escape("So many processes can: 1, 2, 4.")):
        train(config, Ranks(0, 3))


@pytest.mark.main_host
def test_another_model_or_start_than_that_of_rank_0_is_refused(tiny):
    part = "lora_unet_input_blocks_4_1_proj_in"
    starts = [
        Start({f"{part}.lora_{name}.weight": torch.full((1, 1), number) for name in ("up", "down")})
        for number in (1.0, 2.0)
    ]
    ours, theirs = (Loaded(tiny.model, tiny.clip, tiny.vae, start) for start in starts)
    inputs = Inputs("recipe", "data", "texts", fingerprint(tiny.model), starts[0].digest())
    check_same(ours, inputs, 1)
    for loaded in (theirs, ours._replace(start=None)):
        with pytest.raises(ValueError, match="Rank 1 has loaded another LoRA to start from"):
            check_same(loaded, inputs, 1)
    with pytest.raises(ValueError, match="Rank 1 has loaded another model than rank 0"):
        check_same(ours, dataclasses.replace(inputs, model="other"), 1)
