"""Tests on a CUDA device, inside ComfyUI's own modules: $COMFYUI_PATH says which ComfyUI."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from pack.demo import tiny_sdxl

COMFYUI = os.environ.get("COMFYUI_PATH")
BASE = Path(tempfile.mkdtemp(prefix="lora-loop-gpu-"))

if COMFYUI:
    sys.path.insert(0, COMFYUI)
    import comfy.cli_args

    comfy.cli_args.args.base_directory = str(BASE)
    import folder_paths  # noqa: F401

    import nodes  # noqa: F401  (ComfyUI's; imports comfy.sd and model_management)

    tiny_sdxl.register()
else:
    collect_ignore_glob = ["test_*.py"]


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
