"""Tests on a CUDA device, inside ComfyUI's own modules: $COMFYUI_PATH says which ComfyUI.

DYNAMIC_VRAM=1 has ComfyUI page weights by itself, as it does for users where it can.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from pack.demo import tiny_sdxl

COMFYUI = os.environ.get("COMFYUI_PATH") if torch.cuda.is_available() else None
BASE = Path(tempfile.mkdtemp(prefix="lora-loop-gpu-"))


def _page_weights() -> None:
    """What ComfyUI's main.py does for dynamic VRAM."""
    import comfy.memory_management
    import comfy.model_patcher
    import comfy_aimdo.control

    assert comfy_aimdo.control.init() and comfy_aimdo.control.init_device(0), "no dynamic VRAM here"
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True


if COMFYUI:
    sys.path.insert(0, COMFYUI)
    import comfy.cli_args

    comfy.cli_args.args.base_directory = str(BASE)
    import folder_paths  # noqa: F401

    import nodes  # noqa: F401  (ComfyUI's; imports comfy.sd and model_management)

    if os.environ.get("DYNAMIC_VRAM"):
        _page_weights()
    tiny_sdxl.register()
else:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items):
    """Whether weights may move between forward and backward is what all other tests stand on."""
    items.sort(key=lambda item: item.path.name != "test_frozen_weights.py")


@pytest.fixture(autouse=True)
def own_output(tmp_path, monkeypatch):
    """Each test has an output directory of its own, so that none finds another's runs."""
    from pack.nodes.host import folders

    monkeypatch.setattr(folders, "output_root", lambda: tmp_path / "output")


@pytest.fixture
def tiny():
    """The tiny SDXL, freshly loaded on the device: (model, clip, vae)."""
    import comfy.model_management as mm

    yield tiny_sdxl.load(tiny_sdxl.write_checkpoint(BASE / "tiny.safetensors"))
    mm.unload_all_models()
