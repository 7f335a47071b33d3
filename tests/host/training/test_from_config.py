"""A kohya config from the command line: the same LoRA as the graph makes, kept, gone on with, previewed."""

import signal
import sys
from pathlib import Path

import folder_paths
import pytest
import torch

from pack import headless
from pack.nodes.cache_latents import CacheLatents
from pack.nodes.host import folders
from pack.nodes.host.dataset.kohya_import import ConfigSource
from pack.nodes.host.model import unet
from pack.nodes.host.model.fingerprint import fingerprint
from pack.nodes.host.training import from_config, train, trainings
from pack.nodes.host.training.from_config import ConfigRun
from pack.nodes.import_kohya_config import ImportKohyaConfig
from pack.nodes.train import Train
from pack.tests.host import kohya_scene
from pack.tests.host.conftest import COMFYUI
from pack.trainer.kohya.config import Files
from pack.trainer.lora_files.file import read_lora


@pytest.fixture(autouse=True)
def own_places(monkeypatch):
    """The config's output folder is this process's; ComfyUI's comes back after the test."""
    before = folder_paths.get_output_directory()
    monkeypatch.setattr(
        folders, "output_root", lambda: Path(folder_paths.get_output_directory()) / "lora_loop"
    )
    yield
    folder_paths.set_output_directory(before)


def run(config, **options):
    job = ConfigSource(str(config), bases=(config.parent,))
    return from_config.run(ConfigRun(job, config.parent, **options))


def train_in_a_graph(config, tiny, monkeypatch):
    """What three wires from Import kohya Config to Cache Latents and Train give."""
    with torch.inference_mode():
        imported = kohya_scene.run_node(ImportKohyaConfig, monkeypatch, config=str(config))
        dataset, buckets, settings = imported[:3]
        cached, _ = kohya_scene.run_node(
            CacheLatents, monkeypatch,
            dataset=dataset, vae=tiny.vae, clip=tiny.clip, bucket_settings=buckets,
        )  # fmt: skip
        return kohya_scene.run_node(
            Train, monkeypatch,
            model=tiny.model, cache=cached, clip=tiny.clip, vae=tiny.vae, run_settings=settings,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimiser", "length", "steps"),
    [
        (kohya_scene.ADAMW, "max_train_steps = 4", 4),
        pytest.param(kohya_scene.PRODIGY, "max_train_steps = 3", 3, marks=pytest.mark.main_host),
        pytest.param(kohya_scene.ADAMW, "max_train_epochs = 2", 8, marks=pytest.mark.main_host),
    ],
    ids=["adamw", "prodigy", "epochs"],
)
def test_the_users_config_trains_as_in_the_graph(
    tmp_path, tiny, tiny_checkpoint, monkeypatch, optimiser, length, steps
):
    config = kohya_scene.write_config(tmp_path / "one", tiny_checkpoint, optimiser, length)
    path = run(config)
    assert path == tmp_path / "one" / "data" / "output" / "name.safetensors"
    names = ["name-000001.safetensors"] if steps > 4 else []  # the last epoch's is the result
    assert sorted(p.name for p in path.parent.glob("*-*.safetensors")) == names
    saved = read_lora(path)
    assert saved.metadata["ss_steps"] == str(steps)
    assert all(value.dtype == torch.float16 for value in saved.values())
    (kept,) = (tmp_path / "one/data/output/lora_loop/runs").glob("*/steps-*.safetensors")
    monkeypatch.setattr(folders, "output_root", lambda: tmp_path / "graph")
    lora = train_in_a_graph(config, tiny, monkeypatch)[0]
    exact = read_lora(kept)
    assert exact.keys() == lora.keys()
    assert all(torch.equal(exact[key], lora[key]) for key in lora)
    (other,) = (tmp_path / "graph" / "runs").glob("[!.]*")
    assert other.name == kept.parent.name  # the same identity


def test_text_encoders_and_the_makers_words(tmp_path, tiny_checkpoint):
    config = kohya_scene.write_config(tmp_path, tiny_checkpoint, length="max_train_steps = 2")
    text = config.read_text("utf-8").replace("network_train_unet_only = true", "")
    for name in ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"):
        text = text.replace(f"{name} = true\n", "")
    words = 'metadata_author = "me"\nmetadata_usage_hint = "softly"\nno_metadata = true\n'
    config.write_text(f'{words}metadata_trigger_phrase = "thing"\n{text}', "utf-8")
    saved = read_lora(run(config))
    assert {key[:9] for key in saved} == {"lora_te1_", "lora_te2_", "lora_unet"}
    known = saved.metadata
    assert (known["modelspec.author"], known["modelspec.usage_hint"]) == ("me", "softly")
    assert known["modelspec.trigger_phrase"] == "thing"
    assert "ss_network_dim" in known and "ss_tag_frequency" not in known
    assert "sshs_model_hash" in known


@pytest.mark.main_host
def test_it_starts_from_the_weights_of_a_file(tmp_path, tiny_checkpoint):
    first = run(kohya_scene.write_config(tmp_path / "first", tiny_checkpoint))
    more = f'network_weights = "{first.as_posix()}"\ndim_from_weights = true\nseed = 9\n'
    config = kohya_scene.write_config(
        tmp_path / "second", tiny_checkpoint, length="max_train_steps = 1", more=more
    )
    config.write_text(config.read_text().replace("learning_rate = 3e-3", "learning_rate = 1e-9"))
    before, after = read_lora(first), read_lora(run(config))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in before)


@pytest.mark.main_host
def test_a_second_call_trains_nothing(tmp_path, tiny_checkpoint, monkeypatch):
    config = kohya_scene.write_config(tmp_path, tiny_checkpoint)
    first = run(config)
    before = first.stat().st_mtime_ns
    monkeypatch.setattr(train, "train_live", lambda *_: pytest.fail("trained again"))
    assert run(config) == first
    assert first.stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.main_host
def test_ctrl_c_saves_and_the_next_call_goes_on(tmp_path, tiny_checkpoint, monkeypatch):
    config = kohya_scene.write_config(tmp_path / "whole", tiny_checkpoint)
    whole = read_lora(run(config))
    config = kohya_scene.write_config(tmp_path / "halves", tiny_checkpoint)
    on_step = trainings.Training.on_step

    def interrupted(self, event):
        if event.step == 2:
            signal.raise_signal(signal.SIGINT)
        return on_step(self, event)

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(trainings.Training, "on_step", interrupted)
        with pytest.raises(from_config.mm.InterruptProcessingException):
            run(config)
    assert signal.getsignal(signal.SIGINT) is handler
    lines: list[str] = []
    monkeypatch.setattr(trainings, "tell_page", lambda node, text, **more: lines.append(text))
    monkeypatch.setattr(trainings, "BETWEEN", 0.0)
    halves = read_lora(run(config))
    steps = [text.split(" ·")[0] for text in lines if text.startswith("step")]
    assert steps == ["step 3/4", "step 4/4"]
    assert all(torch.equal(whole[key], halves[key]) for key in whole)


@pytest.mark.main_host
def test_previews_lie_in_the_run(tmp_path, tiny_checkpoint):
    (tmp_path / "prompt.txt").write_text(
        "# mine\nthing --w 64 --h 64 --s 2 --ss euler_a\n", "utf-8"
    )
    more = 'sample_every_n_steps = 2\nsample_prompts = "prompt.txt"\nsample_at_first = true\n'
    run(kohya_scene.write_config(tmp_path, tiny_checkpoint, more=more))
    found = (tmp_path / "data/output/lora_loop/runs").glob("*/previews/*.png")
    assert sorted(path.name for path in found) == [f"step{step:08}_0.png" for step in (0, 2, 4)]


@pytest.mark.main_host
def test_what_it_says_when_it_cannot(tmp_path, tiny_checkpoint):
    config = kohya_scene.write_config(tmp_path, tiny_checkpoint)
    config.write_text(config.read_text().replace('output_dir = "data/output"', ""), "utf-8")
    with pytest.raises(ValueError, match="has no output_dir"):
        run(config)
    assert run(config, output=tmp_path / "elsewhere").parent == tmp_path / "elsewhere"
    with pytest.raises(ValueError, match=r"checkpoint 'nothing\.safetensors' is not there"):
        run(config, output=tmp_path / "elsewhere", checkpoint="nothing.safetensors")


def test_the_command(tmp_path, tiny_checkpoint, monkeypatch, capsys, base_directory):
    """`headless.py train`, in this process, where ComfyUI knows the tiny SDXL."""
    monkeypatch.setenv("COMFYUI_PATH", COMFYUI)
    config = kohya_scene.write_config(tmp_path, tiny_checkpoint)
    arguments = ["train", "--config", "config.toml", "--directory", str(tmp_path)]
    path_before = list(sys.path)
    try:
        assert headless.main(arguments) == 0
        told = capsys.readouterr()
        assert told.out.splitlines()[-1] == str(tmp_path / "data/output/name.safetensors")
        config.write_text("network_dmi = 4\n" + config.read_text(), "utf-8")
        assert headless.main(arguments) == 1
        assert "network_dmi is no argument" in capsys.readouterr().err
    finally:
        sys.path[:] = path_before


def test_what_the_checkpoint_is_loaded_with(tmp_path, tiny_checkpoint, monkeypatch):
    config = kohya_scene.write_config(tmp_path, tiny_checkpoint)
    lora = run(config)
    plain = Files(checkpoint=str(tiny_checkpoint))
    fixed = Files(str(tiny_checkpoint), str(tiny_checkpoint), (str(lora),), (0.5,), predicts_v=True)
    with torch.inference_mode():
        before, after = (from_config.load(files, "", (tmp_path,)) for files in (plain, fixed))
    assert (unet.prediction(before.model), unet.prediction(after.model)) == ("epsilon", "v")
    assert not before.model.patches
    ((strength, *_),) = next(iter(after.model.patches.values()))
    assert strength == 0.5
    assert fingerprint(before.model) != fingerprint(after.model)
