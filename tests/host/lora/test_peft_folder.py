"""Folders that peft itself wrote, read by peft into diffusers' models."""

import json
import sys

import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.lora.load import read_kohya
from pack.tests.host.lora.test_interop import (  # noqa: F401 - a fixture
    NETWORKS,
    make_diffusers,
)
from pack.tests.host.lora.test_tools import made, run
from pack.trainer.lora_files.formats import diffusers_path
from pack.trainer.lora_tools.factors import read_factors
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

pytestmark = pytest.mark.main_host
peft = pytest.importorskip("peft")


@pytest.fixture(params=["convolutions", "blocks", "rsLoRA"])
def lora(tiny, request):
    network = Network(
        find_targets(tiny.model.model.diffusion_model, NETWORKS[request.param]), seed=3
    )
    with torch.no_grad():
        for adapter in network.adapters.values():
            adapter.up.copy_(0.5 * torch.randn_like(adapter.up))
    return network.state_dict()


def test_every_layer_of_diffusers_unet_gets_our_change(tiny, lora, make_diffusers):  # noqa: F811
    (folder,) = run("ExportPeft", lora=lora, name="mine", precision="fp32")
    assert folder == str(folders.peft_root() / "mine")
    unet = peft.PeftModel.from_pretrained(make_diffusers(tiny), folder).base_model.model
    layers = {
        diffusers_path(stem).removeprefix("unet."): layer
        for stem, layer in read_factors(lora).items()
    }
    adapted = {path: m for path, m in unet.named_modules() if hasattr(m, "lora_A")}
    assert adapted.keys() == layers.keys()
    for path, layer in layers.items():
        delta = adapted[path].get_delta_weight("default")
        assert torch.allclose(delta, layer.change(), atol=1e-5), path


def test_the_folder_is_read_again_as_the_same_lora(tiny, lora):
    (folder,) = run("ExportPeft", lora=lora, name="mine", precision="fp32")
    found = read_factors(read_kohya(folders.peft_root() / "mine" / "adapter_model.safetensors"))
    expected = read_factors(lora)
    assert found.keys() == expected.keys()
    for stem, layer in found.items():
        assert torch.allclose(layer.change(), expected[stem].change(), rtol=1e-5, atol=1e-6)
    assert folder


def test_text_encoders_have_folders_and_nothing_is_overwritten(tiny):
    text = "lora_te2_text_model_encoder_layers_1_mlp_fc2"
    lora = {
        **made(tiny, 1),
        f"{text}.lora_up.weight": torch.randn(6, 2),
        f"{text}.lora_down.weight": torch.randn(2, 8),
        f"{text}.alpha": torch.tensor(1.0),
    }
    first, again = (run("ExportPeft", lora=lora, name="mine")[0] for _ in range(2))
    (other,) = run("ExportPeft", lora=lora, name="mine", precision="bf16")
    root = folders.peft_root()
    assert first == again == str(root / "mine") and other == str(root / "mine_2")
    assert sorted(path.name for path in root.iterdir()) == ["mine", "mine_2"]
    files = {p.relative_to(root / "mine").as_posix() for p in (root / "mine").rglob("*.*")}
    names = ("adapter_config.json", "adapter_model.safetensors")
    assert files == {*names, *(f"text_encoder_2/{name}" for name in names)}
    config = json.loads((root / "mine" / "text_encoder_2" / names[0]).read_text())
    assert config["target_modules"] == ["text_model.encoder.layers.1.mlp.fc2"]
    assert (config["r"], config["lora_alpha"]) == (2, 1.0)


def test_a_missing_package_and_another_kind_are_said(tiny, monkeypatch):
    lora = made(tiny, 1)
    key = next(iter(read_factors(lora)))
    with pytest.raises(ValueError, match="no plain LoRA"):
        run("ExportPeft", lora={**lora, f"{key}.dora_scale": torch.ones(4, 1)}, name="a")
    with pytest.raises(ValueError, match="cannot name a folder"):
        run("ExportPeft", lora=lora, name="../a")
    large = {**lora, f"{key}.lora_up.weight": lora[f"{key}.lora_up.weight"] * 1e6}
    with pytest.raises(ValueError, match=f"{key}.*which fp16 cannot hold"):
        run("ExportPeft", lora=large, name="a")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install peft.*needs none"):
        run("ExportPeft", lora=lora, name="a")
    assert not folders.peft_root().exists()
