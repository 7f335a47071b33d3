import json
from types import SimpleNamespace

import pytest
import torch
from comfy.cli_args import args

from pack.nodes.host.lora.save import file_metadata
from pack.nodes.save_lora import SaveLora
from pack.trainer.config.about import About
from pack.trainer.lora_files.file import LoraModel, read_lora

KEY = "lora_unet_input_blocks_4_1_proj_in"
HIDDEN = SimpleNamespace(prompt={"1": {"inputs": {}}}, extra_pnginfo={"workflow": {"nodes": []}})
PICTURE = torch.rand(2, 64, 32, 3)


@pytest.fixture
def lora():
    tensors = {
        f"{KEY}.lora_down.weight": torch.arange(8.0).reshape(2, 4),
        f"{KEY}.lora_up.weight": torch.arange(6.0).reshape(3, 2),
        f"{KEY}.alpha": torch.tensor(6.0),
    }
    return LoraModel(tensors, {"ss_seed": "1", "ss_tag_frequency": "{}"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("pack.nodes.host.folders.loras_folder", lambda: tmp_path)
    return tmp_path


def written(lora, private=False, thumbnail=PICTURE):
    about = About(author="me")
    return file_metadata(
        lora, "mine/v1.5", about, thumbnail=thumbnail, hidden=HIDDEN, private=private
    )


def test_the_words_the_picture_and_the_graph_are_in_the_metadata(lora):
    found = written(lora)
    assert found["ss_output_name"] == found["modelspec.title"] == "v1.5"
    assert found["modelspec.author"] == "me"
    assert found["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    assert json.loads(found["prompt"]) == HIDDEN.prompt
    assert json.loads(found["workflow"]) == HIDDEN.extra_pnginfo["workflow"]
    assert found["ss_seed"] == "1" and lora.metadata.keys() == {"ss_seed", "ss_tag_frequency"}


def test_a_private_file_has_the_words_alone(lora):
    found = written(lora, private=True)
    assert found.keys() == {
        "ss_seed", "ss_output_name", "ss_training_comment", "modelspec.title", "modelspec.author",
    }  # fmt: skip


def test_without_a_picture_and_under_disable_metadata(lora, monkeypatch):
    monkeypatch.setattr(args, "disable_metadata", True)
    found = written(lora, thumbnail=None)
    assert not {"prompt", "workflow", "modelspec.thumbnail"} & found.keys()
    assert found["modelspec.author"] == "me"


def test_the_node_writes_all_of_it(lora, folder, monkeypatch):
    monkeypatch.setattr(SaveLora, "hidden", HIDDEN)
    words = {"title": "Cats", "tags": "a,b", "comment": "hello"}
    path = SaveLora.execute(lora, "a", "fp32", "number", False, thumbnail=PICTURE, **words)[0]
    metadata = read_lora(path).metadata
    assert metadata["modelspec.title"] == "Cats" and metadata["modelspec.tags"] == "a,b"
    assert metadata["ss_training_comment"] == "hello" and metadata["ss_output_name"] == "a"
    assert "modelspec.thumbnail" in metadata and "workflow" in metadata


def test_a_moved_node_writes_no_second_file_and_other_words_do(lora, folder, monkeypatch):
    monkeypatch.setattr(SaveLora, "hidden", HIDDEN)
    first = SaveLora.execute(lora, "a", "fp32", "number", False)[0]
    moved = SimpleNamespace(prompt=HIDDEN.prompt, extra_pnginfo={"workflow": {"nodes": [1]}})
    monkeypatch.setattr(SaveLora, "hidden", moved)
    assert SaveLora.execute(lora, "a", "fp32", "number", False)[0] == first
    assert SaveLora.execute(lora, "a", "fp32", "number", False, author="you")[0] != first


def test_the_format_of_diffusers(lora, folder):
    path = SaveLora.execute(lora, "a", "fp32", "number", False, format="diffusers")[0]
    found = read_lora(path)
    layer = "unet.down_blocks.1.attentions.0.proj_in"
    assert found.keys() == {f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"}
    assert torch.equal(found[f"{layer}.lora_B.weight"], 3 * lora[f"{KEY}.lora_up.weight"])
    assert found.metadata["ss_seed"] == "1"
