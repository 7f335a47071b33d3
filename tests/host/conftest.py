"""Tests inside ComfyUI's own modules, without its server: $COMFYUI_PATH says which ComfyUI.

Importing this file imports ComfyUI (CPU, private base directory), so that test modules may import
`comfy` at their top.
"""

import atexit
import copy
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from pack.demo import tiny_sdxl
from pack.demo.base import make_folders

COMFYUI = os.environ.get("COMFYUI_PATH")


def _import_comfyui(comfyui: str) -> str:
    """Put ComfyUI on `sys.path` and set what it reads from the command line; the base directory."""
    base = tempfile.mkdtemp(prefix="lora-loop-host-")
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    make_folders(Path(base))
    sys.path.insert(0, comfyui)
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.base_directory = base
    import folder_paths  # noqa: F401
    import torch

    torch.set_num_threads(1)
    import nodes  # noqa: F401  (ComfyUI's; imports comfy.sd and model_management)

    tiny_sdxl.register()
    return base


if COMFYUI:
    BASE = _import_comfyui(COMFYUI)
else:
    BASE = ""
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def base_directory() -> Path:
    """ComfyUI's base directory of this session: models/, input/, output/, temp/."""
    return Path(BASE)


@pytest.fixture(autouse=True)
def own_output(tmp_path, monkeypatch):
    """Each test has an output directory of its own, so that none finds another's runs, and may change
    its own files."""
    from pack.nodes.host import folders

    monkeypatch.setattr(folders, "output_root", lambda: tmp_path / "output")
    monkeypatch.setattr(folders, "user_root", lambda: tmp_path / "user")
    monkeypatch.setenv("LORA_LOOP_ALLOW", str(tmp_path))


@pytest.fixture(scope="session")
def tiny_checkpoint(base_directory) -> Path:
    """A tiny ε-prediction SDXL checkpoint in fp16."""
    return tiny_sdxl.write_checkpoint(
        base_directory / "models" / "checkpoints" / "tiny.safetensors"
    )


@pytest.fixture(scope="session")
def tiny_v_checkpoint(base_directory) -> Path:
    """The same with v-prediction and zero-terminal-SNR."""
    path = base_directory / "models" / "checkpoints" / "tiny_v.safetensors"
    return tiny_sdxl.write_checkpoint(path, v_pred=True, ztsnr=True)


@pytest.fixture
def load_tiny():
    """A function that loads a checkpoint freshly; everything is unloaded at the end of the test."""
    import comfy.model_management

    yield tiny_sdxl.load
    comfy.model_management.unload_all_models()


@pytest.fixture(scope="session")
def untouched(tiny_checkpoint) -> tiny_sdxl.Loaded:
    """The tiny SDXL as it was loaded; tests get copies, which take half the time of loading."""
    return tiny_sdxl.load(tiny_checkpoint)


@pytest.fixture
def tiny(untouched) -> tiny_sdxl.Loaded:
    """The tiny SDXL as freshly loaded: (model, clip, vae)."""
    import comfy.model_management
    import torch

    shared = (untouched.clip.tokenizer, untouched.model.model.model_config)  # nobody changes them
    with torch.inference_mode():  # as ComfyUI loads
        loaded = copy.deepcopy(untouched, {id(part): part for part in shared})
    yield loaded
    comfy.model_management.unload_all_models()


@pytest.fixture
def tiny_v(tiny_v_checkpoint, load_tiny) -> tiny_sdxl.Loaded:
    """The tiny v-prediction SDXL, freshly loaded."""
    return load_tiny(tiny_v_checkpoint)


@pytest.fixture(scope="session")
def filled_store(untouched, tmp_path_factory) -> Path:
    """A store with the latents and encodings of `cached`."""
    from pack.tests.host import scene

    folder = tmp_path_factory.mktemp("filled")
    scene.cache(untouched, scene.write_pictures(folder / "set"), folder / "cache")
    return folder / "cache"


@pytest.fixture
def cached(tiny, filled_store, tmp_path):
    """Four red images with captions, latents and encodings in a store of this test's own."""
    from pack.tests.host import scene

    shutil.copytree(filled_store, tmp_path / "cache")
    return scene.cache(tiny, scene.write_pictures(tmp_path / "set"), tmp_path / "cache")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A function: from now on runs lie in another folder, so that nothing is found."""
    from pack.nodes.host import folders

    return lambda: monkeypatch.setattr(folders, "output_root", lambda: tmp_path / "elsewhere")


@pytest.fixture
def page(monkeypatch):
    """A page that questions are shown in."""
    from pack.nodes.host import questions
    from pack.tests.host.page import Page

    page = Page()
    monkeypatch.setattr(questions, "prompt_server", lambda: page)
    return page
