"""Tests inside ComfyUI's own modules, without its server: $COMFYUI_PATH says which ComfyUI.

Importing this file imports ComfyUI (CPU, private base directory), so that test modules may import
`comfy` at their top.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

COMFYUI = os.environ.get("COMFYUI_PATH")


def _import_comfyui(comfyui: str) -> str:
    """Put ComfyUI on `sys.path` and set what it reads from the command line; the base directory."""
    base = tempfile.mkdtemp(prefix="lora-loop-host-")
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (Path(base) / name).mkdir()
    sys.path.insert(0, comfyui)
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.base_directory = base
    import folder_paths  # noqa: F401
    import torch

    torch.set_num_threads(1)
    import nodes  # noqa: F401  (ComfyUI's; imports comfy.sd and model_management)
    from pack.demo import tiny_sdxl

    tiny_sdxl.register()
    return base


if COMFYUI:
    BASE = _import_comfyui(COMFYUI)
else:
    BASE = ""
    collect_ignore_glob = ["test_*.py"]


class Tiny(NamedTuple):
    """What a checkpoint loader node returns."""

    model: Any
    clip: Any
    vae: Any


def load_checkpoint(path: str | Path) -> Tiny:
    """Load as ComfyUI does: weights are inference tensors."""
    import comfy.sd
    import torch

    with torch.inference_mode():
        model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(str(path))
    return Tiny(model, clip, vae)


@pytest.fixture(scope="session")
def base_directory() -> Path:
    """ComfyUI's base directory of this session: models/, input/, output/, temp/."""
    return Path(BASE)


@pytest.fixture(scope="session")
def tiny_checkpoint(base_directory) -> Path:
    """A tiny ε-prediction SDXL checkpoint in fp16."""
    from pack.demo import tiny_sdxl

    return tiny_sdxl.write_checkpoint(
        base_directory / "models" / "checkpoints" / "tiny.safetensors"
    )


@pytest.fixture(scope="session")
def tiny_v_checkpoint(base_directory) -> Path:
    """The same with v-prediction and zero-terminal-SNR."""
    from pack.demo import tiny_sdxl

    path = base_directory / "models" / "checkpoints" / "tiny_v.safetensors"
    return tiny_sdxl.write_checkpoint(path, v_pred=True, ztsnr=True)


@pytest.fixture
def load_tiny():
    """A function that loads a checkpoint freshly; everything is unloaded at the end of the test."""
    import comfy.model_management

    yield load_checkpoint
    comfy.model_management.unload_all_models()


@pytest.fixture
def tiny(tiny_checkpoint, load_tiny) -> Tiny:
    """The tiny SDXL, freshly loaded: (model, clip, vae)."""
    return load_tiny(tiny_checkpoint)


@pytest.fixture
def tiny_v(tiny_v_checkpoint, load_tiny) -> Tiny:
    """The tiny v-prediction SDXL, freshly loaded."""
    return load_tiny(tiny_v_checkpoint)
