"""`train --config` in a process of its own: the report, what is written where, and what is said of unusable files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pack.nodes.host.dataset.kohya_import import ConfigSource
from pack.nodes.host.training import from_config
from pack.nodes.host.training.from_config import ConfigRun, model_differences
from pack.nodes.host.training.weight_files import load_start, load_vae, weight_file, with_lora
from pack.tests.host import kohya_scene
from pack.tests.host.conftest import COMFYUI
from pack.tests.trainer.kohya.kohya_import import imported
from pack.trainer.kohya.config import Files

ROOT = Path(__file__).resolve().parents[3]

CHILD = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import headless
headless._import_comfyui(cpu=True)
headless._pack()
import comfy.sd
from lora_loop.demo import tiny_sdxl
tiny_sdxl.register()
sys.exit(headless.main(sys.argv[1:]))
"""
"""The command line, in a ComfyUI that knows the tiny SDXL."""


@pytest.fixture
def comfyui(tmp_path):
    """A ComfyUI with folders of its own."""
    root = tmp_path / "ComfyUI"
    root.mkdir()
    for path in Path(COMFYUI).iterdir():
        if path.name == "folder_paths.py":
            shutil.copy(path, root)
        elif path.name not in ("models", "input", "output", "temp", "user", "custom_nodes"):
            (root / path.name).symlink_to(path)
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (root / name).mkdir()
    return root


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def command(comfyui, folder):
    """What `train --config config.toml` gives in that folder."""
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = ["train", "--config", "config.toml", "--directory", str(folder)]
    return subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.main_host
def test_the_report_is_on_the_error_stream_and_nothing_lies_elsewhere(
    tmp_path, tiny_checkpoint, comfyui
):
    folder = tmp_path / "mine"
    kohya_scene.write_config(
        folder, tiny_checkpoint, length="max_train_steps = 1", more="epoch = 3\n"
    )
    own, given = files(comfyui), files(folder)
    done = command(comfyui, folder)
    assert done.returncode == 0, done.stderr
    for words in (
        "Set:\n", "  network_dim = 4\n", "Ignored:\n", "  epoch: kohya takes no notice of it",
        "Unlike kohya:\n", "4 images in 1 folder(s)",
    ):  # fmt: skip
        assert words in done.stderr
    assert done.stdout.splitlines()[-1] == str(folder / "data/output/name.safetensors")
    assert files(comfyui) == own
    assert all(name.startswith("data/output/") for name in files(folder) - given)


@pytest.mark.slow
@pytest.mark.main_host
def test_a_checkpoint_that_is_cut_off_is_a_sentence(tmp_path, tiny_checkpoint, comfyui):
    folder = tmp_path / "mine"
    kohya_scene.write_config(folder, "cut.safetensors")
    (folder / "cut.safetensors").write_bytes(tiny_checkpoint.read_bytes()[:200_000])
    own = files(comfyui)
    done = command(comfyui, folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "Unlike kohya:\n" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: The checkpoint ")
    assert files(comfyui) == own


def cut(path, whole):
    path.write_bytes(whole.read_bytes()[:200_000])


def others(path, whole):
    save_file({"a.weight": torch.zeros(4, 4)}, path)


UNUSABLE = {
    "missing": lambda path, whole: None,
    "empty": lambda path, whole: path.write_bytes(b""),
    "cut off": cut,
    "a page": lambda path, whole: path.write_text("<html>not found</html>"),
    "a folder": lambda path, whole: path.mkdir(),
    "other tensors": others,
}
NAMED = {
    "checkpoint": lambda name, place, _: from_config.load(Files(checkpoint=name), "", place),
    "vae": lambda name, place, _: load_vae(weight_file(name, "vae", place)),
    "LoRA": lambda name, place, tiny: with_lora(
        tiny.model, tiny.clip, weight_file(name, "LoRA", place), 1.0
    ),
    "LoRA to start from": lambda name, place, _: load_start(weight_file(name, "LoRA", place)),
}
"""What loads the file that an argument names."""


@pytest.mark.main_host
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("what", NAMED)
def test_an_unusable_file_of_weights(tmp_path, tiny, tiny_checkpoint, what, kind, ending):
    name = f"bad.{ending}"
    UNUSABLE[kind](tmp_path / name, tiny_checkpoint)
    with torch.inference_mode(), pytest.raises(ValueError, match="bad") as error:
        NAMED[what](name, (tmp_path,), tiny)
    assert what.split()[0] in str(error.value)


@pytest.mark.main_host
def test_a_lora_is_no_checkpoint_and_a_checkpoint_no_lora(tmp_path, tiny_checkpoint):
    lora = tmp_path / "lora.safetensors"
    key = "lora_unet_input_blocks_1_0_in_layers_2"
    save_file({f"{key}.lora_up.weight": torch.zeros(4, 1)}, lora)
    for given in (
        {"checkpoint": str(lora)},
        {"checkpoint": str(tiny_checkpoint), "base_weights": (str(tiny_checkpoint),), "base_strengths": (1.0,)},
        {"checkpoint": str(tiny_checkpoint), "network_weights": str(tiny_checkpoint)},
        {"checkpoint": str(tiny_checkpoint), "vae": str(lora)},
    ):  # fmt: skip
        with torch.inference_mode(), pytest.raises(ValueError, match=r"safetensors|LoRA"):
            from_config.load(Files(**given), "", (tmp_path,))


@pytest.mark.main_host
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('output_dir = "config.toml"', "output folder .* cannot be made"),
        ('output_dir = "config.toml/below"', "output folder .* cannot be made"),
        ('train_data_dir = "nowhere"', "nowhere' is not there"),
        ('train_data_dir = "config.toml"', "is not a folder"),
        ('dataset_config = "data"', "is no file"),
        ('dataset_config = "gone.toml"', "is not there"),
        ('sample_prompts = "data"\nsample_every_n_steps = 1', "is no file"),
        ('sample_prompts = "gone.txt"\nsample_every_n_steps = 1', "is not there"),
    ],
)
def test_other_things_that_cannot_be_used(tmp_path, tiny_checkpoint, lines, said):
    config = kohya_scene.write_config(tmp_path, tiny_checkpoint)
    names = {line.partition(" =")[0] for line in lines.splitlines()}
    kept = [
        line for line in config.read_text().splitlines() if line.partition(" =")[0] not in names
    ]
    config.write_text("\n".join([*kept, lines]))
    job = ConfigSource(str(config), bases=(tmp_path,))
    with pytest.raises(ValueError, match=said):
        from_config.run(ConfigRun(job, tmp_path))


@pytest.mark.main_host
def test_what_the_checkpoint_says_of_itself_is_told(tiny_v_checkpoint, tiny):
    with torch.inference_mode():
        model = from_config.load(Files(checkpoint=str(tiny_v_checkpoint)), "", ()).model
    both = list(model_differences(imported(), model))
    assert "predicts v" in both[0] and "ends in pure noise" in both[1]
    (line,) = model_differences(imported("v_parameterization = true"), model)
    assert "ends in pure noise" in line
    asked = "v_parameterization = true\nzero_terminal_snr = true"
    assert not list(model_differences(imported(asked), model))
    assert not list(model_differences(imported(), tiny.model))
