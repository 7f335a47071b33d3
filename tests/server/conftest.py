"""Tests against a real ComfyUI server with this pack: $COMFYUI_PATH says which ComfyUI.

The example workflows' names hold tiny stand-ins: sd_xl_base_1.0.safetensors,
wd-swinv2-tagger-v3 and input/lora_loop_example.
"""

import json
import os

import pytest

from pack.demo import base as demo_base
from pack.demo import pictures, tiny_tagger
from pack.demo.prompt import to_prompt
from pack.demo.server import ComfyServer

if not os.environ.get("COMFYUI_PATH"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running server (`pack.demo.server.ComfyServer`) with the pack and the stand-ins."""
    base = demo_base.prepare(tmp_path_factory.mktemp("comfyui"))
    tiny_tagger.write(demo_base.tagger_path(base))
    pictures.write(demo_base.dataset_path(base))
    with ComfyServer(os.environ["COMFYUI_PATH"], base) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(server):
    """Every node's inputs and outputs."""
    return server.object_info()


@pytest.fixture
def example(root, object_info):
    """A function: name of an example workflow → its prompt, unedited."""

    def load(name):
        path = root / "example_workflows" / f"{name}.json"
        return to_prompt(json.loads(path.read_text(encoding="utf-8")), object_info)

    return load


@pytest.fixture
def dataset(server):
    """The dataset folder of the example workflows, made anew for each test."""
    folder = demo_base.dataset_path(server.base_directory)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    return pictures.write(folder)
