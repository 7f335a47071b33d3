"""LoHa, LoKr, OFT, BOFT and DoRA, convolutions too: trained on the live MODEL, loaded back by ComfyUI's own loader."""

import dataclasses

import comfy.sd
import comfy.utils
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.model.weights import ComfyWeights
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.host.lora.test_lora_out import answer
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.lora_files.file import write_lora
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

SIZES = {"rank": 3, "alpha": 1.5, "conv_rank": 2, "conv_alpha": 1.0}
KINDS = {
    "loha": {"algorithm": "loha"},
    "lokr": {"algorithm": "lokr"},
    "lokr 2": {"algorithm": "lokr", "lokr_factor": 2},
    "lokr whole": {"algorithm": "lokr", "lokr_factor": 2, "full_matrix": True},
    "lokr 10000": {"algorithm": "lokr", "rank": 10000, "alpha": 10000.0, "conv_rank": 10000},
    "oft": {"algorithm": "oft", "rank": 8, "conv_rank": 8},
    "oft held": {
        "algorithm": "oft",
        "oft_blocks": 4,
        "oft_constraint": 1e-3,
        "layers": "attention",
    },
    "boft": {"algorithm": "boft", "rank": 16, "layers": "resnets", "conv_rank": 16},
    "t-lora": {"least_rank": 1},
    "dora": {"dora": True},
    "dora and loha": {"algorithm": "loha", "dora": True},
    "dora and lokr": {"algorithm": "lokr", "lokr_factor": 2, "dora": True},
}
FOR_ALL_HOSTS = ("lokr", "dora and loha")  # their parts are the others


def config(kind, steps=3):
    return dataclasses.replace(
        scene.config(steps),
        lora=LoraConfig(**{**SIZES, **KINDS[kind]}),
        optimiser=OptimiserConfig(learning_rate=3e-2),
    )


def train(tiny, cached, recipe):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe))[0]


def live(tiny, lora, settings):
    """The UNet's output without and with live adapters that hold `lora`."""
    base = answer(tiny.model)
    unet = tiny.model.model.diffusion_model
    network = Network(find_targets(unet, settings), weights=ComfyWeights())
    network.load(lora)
    with Attachment(leaf_plan(unet, network, ComfyWeights())):
        return base, answer(tiny.model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in FOR_ALL_HOSTS else pytest.mark.main_host)
        for kind in KINDS
    ],
)
def test_the_file_in_comfyui_is_the_live_adapters(tiny, cached, tmp_path, kind):
    before, recipe = scene.snapshot(tiny.model), config(kind)
    trained = train(tiny, cached, recipe)
    assert scene.snapshot(tiny.model) == before
    base, expected = live(tiny, trained.lora, recipe.lora)
    path = write_lora(tmp_path / "a.safetensors", trained.lora, trained.lora.metadata, "fp32")
    read = comfy.utils.load_torch_file(str(path))
    model, _ = comfy.sd.load_lora_for_models(tiny.model, None, read, 1.0, 0.0)
    layers = {key.split(".")[0] for key in trained.lora}
    assert len(model.patches) == len(layers) == len(find_targets(unet_of(tiny), recipe.lora))
    assert (expected - base).abs().max() > 1e-2
    assert (answer(model) - expected).abs().max() <= 2e-5
    assert torch.equal(answer(tiny.model), base)
    from_memory, _ = apply_lora(tiny.model, None, trained.lora, 1.0)
    assert (answer(from_memory) - expected).abs().max() <= 2e-5


def unet_of(tiny):
    return tiny.model.model.diffusion_model


@pytest.mark.slow
@pytest.mark.main_host
@pytest.mark.parametrize("kind", ["dora and loha", "oft held", "t-lora"])
def test_a_longer_run_goes_on_bit_for_bit(tiny, cached, tmp_path, monkeypatch, kind):
    train(tiny, cached, config(kind, 3))
    longer = train(tiny, cached, config(kind, 5))
    monkeypatch.setattr(folders, "output_root", lambda: tmp_path / "elsewhere")
    whole = train(tiny, cached, config(kind, 5))
    assert longer.losses == whole.losses
    assert all(torch.equal(longer.lora[key], whole.lora[key]) for key in whole.lora)


def test_a_missing_package_is_said_before_any_work(tiny, cached, monkeypatch):
    def absent(kind):
        raise ValueError(f"The algorithm {kind} needs the package lycoris-lora")

    monkeypatch.setattr("pack.trainer.network.adapters.lycoris", absent)
    monkeypatch.setattr(training, "fingerprint", lambda _: pytest.fail("work has begun"))
    with pytest.raises(ValueError, match="needs the package"):
        train(tiny, cached, config("lokr"))
