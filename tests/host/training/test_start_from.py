"""Training that goes on from a LoRA, out of a file or from memory."""

import json

import folder_paths
import pytest
import torch

from pack.nodes.host.training import train as training
from pack.nodes.load_lora import LoadLora
from pack.tests.host import scene
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.lora_files.file import write_lora
from pack.trainer.lora_files.formats import to_diffusers_lora
from pack.trainer.runs.start_from import Start

pytestmark = [pytest.mark.main_host, pytest.mark.slow]


def train(tiny, cached, start=None, steps=2, **lora):
    settings = {**vars(scene.config(steps=steps)), "lora": LoraConfig(**{"rank": 4, **lora})}
    request = scene.request(tiny, cached, TrainConfig(**settings), start=start)
    with torch.inference_mode():
        return training.train_lora(request)[0]


@pytest.fixture
def loras(tmp_path, monkeypatch):
    folder = tmp_path / "loras"
    folder.mkdir()
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "loras", ([str(folder)], {".safetensors"})
    )
    return folder


def test_the_run_starts_from_it_is_another_run_and_is_found_again(tiny, cached, caplog):
    caplog.set_level("INFO")
    before = scene.snapshot(tiny.model)
    first = train(tiny, cached, steps=4)
    on = train(tiny, cached, Start(first.lora))
    assert on.trained and on.path.parent != train(tiny, cached).path.parent
    assert "training starts from a LoRA of" in caplog.text
    moved = max((on.lora[k] - first.lora[k]).abs().max() for k in first.lora)
    assert 0 < moved < 0.05  # two steps at 1e-2 away from where it started
    again = train(tiny, cached, Start(first.lora))
    assert not again.trained and again.path == on.path
    other = train(tiny, cached, Start(on.lora))
    assert other.trained and other.path != on.path
    assert scene.snapshot(tiny.model) == before


def test_a_killed_run_that_started_from_a_lora_goes_on_bit_for_bit(tiny, cached):
    start = Start(train(tiny, cached, steps=3).lora)
    whole = train(tiny, cached, start, steps=4)
    longer = train(tiny, cached, start, steps=6)  # from the state after step 4
    assert torch.equal(torch.tensor(longer.losses[:4]), torch.tensor(whole.losses))


def test_ranks_from_a_file_of_diffusers(tiny, cached, loras):
    first = train(tiny, cached, rank=3, alpha=1.5)
    write_lora(loras / "a.safetensors", to_diffusers_lora(first.lora), {"ss_seed": "5"}, "fp32")
    lora = LoadLora.execute("a.safetensors")[0]
    assert lora.keys() == first.lora.keys() and lora.metadata["ss_seed"] == "5"
    on = train(tiny, cached, Start(lora), rank=32, dim_from_weights=True)
    shapes = {key: value.shape for key, value in on.lora.items()}
    assert shapes == {key: value.shape for key, value in first.lora.items()}


def test_pefts_config_beside_the_file_is_read(loras):
    layer = "base_model.model.mid_block.attentions.0.proj_in"
    tensors = {
        f"{layer}.lora_A.weight": torch.ones(2, 4),
        f"{layer}.lora_B.weight": torch.ones(4, 2),
    }
    write_lora(loras / "a.safetensors", tensors, {}, "fp32")
    (loras / "adapter_config.json").write_text(json.dumps({"lora_alpha": 6}))
    before = LoadLora.fingerprint_inputs("a.safetensors")
    assert (
        float(LoadLora.execute("a.safetensors")[0]["lora_unet_middle_block_1_proj_in.alpha"]) == 6
    )
    write_lora(loras / "a.safetensors", {**tensors, f"{layer}.alpha": torch.ones(1)}, {}, "fp32")
    assert LoadLora.fingerprint_inputs("a.safetensors") != before


def test_what_cannot_be_is_said_before_any_work(tiny, cached, loras):
    with pytest.raises(ValueError, match="connect one to start_from"):
        train(tiny, cached, dim_from_weights=True)
    with pytest.raises(ValueError, match="set that rank, or turn on"):
        train(tiny, cached, Start(train(tiny, cached).lora), rank=5)
    with pytest.raises(ValueError, match="no LoRA nothing"):
        LoadLora.execute("nothing.safetensors")
