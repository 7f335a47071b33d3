"""What is made by hand has all of its weights while dynamic VRAM is on, which makes empty layers.

These fail when `whole_layers` does nothing: of the checkpoint 464 of 849 tensors are written then.
"""

import comfy.memory_management
import pytest
import torch
from safetensors import safe_open

from pack.bench.data import reduced_sdxl
from pack.bench.data.scene import Scene
from pack.demo import tiny_sdxl

pytestmark = pytest.mark.main_host  # the old one has no dynamic VRAM

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def paging(monkeypatch):
    """As ComfyUI's main module leaves it on a card."""
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    yield
    assert comfy.memory_management.aimdo_enabled


def test_the_tiny_checkpoint_is_written_whole(tmp_path):
    with safe_open(tiny_sdxl.write_checkpoint(tmp_path / "tiny.safetensors"), "pt") as file:
        assert len(list(file.keys())) == 849


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scene(True, CPU, torch.bfloat16, 8, 4.0).unet(),
        reduced_sdxl.make_unet,
        reduced_sdxl.full_size,
    ],
    ids=["scene", "reduced", "full size"],
)
def test_linear_layers_of_a_model_for_measuring_have_weights(make):
    layers = [module for module in make().modules() if hasattr(module, "in_features")]
    assert len(layers) > 100
    assert [layer for layer in layers if layer.weight is None] == []
