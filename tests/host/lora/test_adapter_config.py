"""peft's adapter_config.json: an input of the file that it belongs to, and of no other."""

import json

import folder_paths
import pytest
import torch
from safetensors.torch import save_file

from pack.nodes.load_lora import LoadLora

pytestmark = pytest.mark.main_host

LAYER = "mid_block.attentions.0.proj_in"
ALPHA = "lora_unet_middle_block_1_proj_in.alpha"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    paths = ([str(tmp_path)], folder_paths.folder_names_and_paths["loras"][1])
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", paths)
    return tmp_path


def write(path, prefix="base_model.model."):
    tensors = {f"{prefix}{LAYER}.lora_{half}.weight": torch.ones(2, 2) for half in "AB"}
    save_file(tensors, path)


def config(folder, **values):
    (folder / "adapter_config.json").write_text(json.dumps(values), "utf-8")


def alpha(name):
    return float(LoadLora.execute(name)[0][ALPHA])


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "renamed.safetensors"])
def test_an_edited_config_is_another_input(folder, name):
    write(folder / name)
    states = [LoadLora.fingerprint_inputs(name)]
    for value in (6, 7):
        config(folder, lora_alpha=value)
        states.append(LoadLora.fingerprint_inputs(name))
        assert alpha(name) == value
    (folder / "adapter_config.json").unlink()
    states.append(LoadLora.fingerprint_inputs(name))
    assert alpha(name) == 2
    assert len(set(states)) == 3 and states[0] == states[-1]


@pytest.mark.parametrize("prefix", ["base_model.model.", "unet.", ""])
def test_another_file_beside_it_is_not_scaled(folder, prefix, caplog):
    config(folder, lora_alpha=32)
    write(folder / "adapter_model.safetensors")
    write(folder / "other.safetensors", prefix)
    assert alpha("adapter_model.safetensors") == 32
    assert alpha("other.safetensors") == 2
    assert ("not scaled" in caplog.text) == (prefix == "base_model.model.")
    before = LoadLora.fingerprint_inputs("other.safetensors")
    config(folder, lora_alpha=64)
    assert LoadLora.fingerprint_inputs("other.safetensors") == before


@pytest.mark.parametrize("prefix", ["unet.", ""])
def test_a_file_that_peft_did_not_write_is_not_scaled_even_where_it_is_alone(folder, prefix):
    config(folder, lora_alpha=32)
    write(folder / "a.safetensors", prefix)
    assert alpha("a.safetensors") == 2


def test_of_two_renamed_files_neither_is_guessed(folder):
    config(folder, lora_alpha=32)
    for name in ("a.safetensors", "b.safetensors"):
        write(folder / name)
        assert alpha(name) == (
            32 if name == "a.safetensors" and not (folder / "b.safetensors").exists() else 2
        )
    assert alpha("a.safetensors") == 2
    first = LoadLora.fingerprint_inputs("a.safetensors")
    (folder / "b.safetensors").unlink()
    assert alpha("a.safetensors") == 32 and LoadLora.fingerprint_inputs("a.safetensors") != first


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_broken_config_is_named(folder, text):
    write(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        alpha("adapter_model.safetensors")


def test_a_config_of_another_size_is_refused(folder):
    write(folder / "adapter_model.safetensors")
    config(folder, r=16, lora_alpha=32)
    with pytest.raises(ValueError, match=r"rank 16 .* the file has 2"):
        alpha("adapter_model.safetensors")


def test_a_config_far_too_large_is_not_read(folder):
    write(folder / "adapter_model.safetensors")
    config(folder, lora_alpha=6, words="x" * (4 * 1024**2))
    LoadLora.fingerprint_inputs("adapter_model.safetensors")
    with pytest.raises(ValueError, match="no config of peft"):
        alpha("adapter_model.safetensors")
