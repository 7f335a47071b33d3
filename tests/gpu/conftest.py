"""Tests on a CUDA device, inside ComfyUI's own modules: $COMFYUI_PATH says which ComfyUI.

DYNAMIC_VRAM=1 has ComfyUI page weights by itself, as it does for users where it can. What ComfyUI and
this pack need but a training does not may be missing, as on a machine that has little but PyTorch.
LORA_LOOP_GPU_DEVICE=cpu: see tests/gpu/card.py.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from pack.bench.gpu import bare_host
from pack.demo import tiny_sdxl

REHEARSED = os.environ.get("LORA_LOOP_GPU_DEVICE") == "cpu"
COMFYUI = os.environ.get("COMFYUI_PATH") if REHEARSED or torch.cuda.is_available() else None
BASE = Path(tempfile.mkdtemp(prefix="lora-loop-gpu-"))


if COMFYUI:
    bare_host.stand_in()
    sys.path.insert(0, COMFYUI)
    import comfy.cli_args

    comfy.cli_args.args.cpu = REHEARSED
    comfy.cli_args.args.base_directory = str(BASE)
    if os.environ.get("DYNAMIC_VRAM"):
        assert bare_host.enable_dynamic_vram() or REHEARSED, "no dynamic VRAM here"
    import comfy.sd
    import folder_paths  # noqa: F401

    tiny_sdxl.register()
else:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items):
    """Whether weights may move between forward and backward is what all other tests stand on.

    None has a bound on its CPU time: who waits for a card computes all the while.
    """
    items.sort(key=lambda item: item.path.name != "test_frozen_weights.py")
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("slow")


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
