"""The LoRA page of A1111's WebUI, which Forge has too, reads our files: model, tags, table and image.

Its own code runs on them; what it imports beside that (Gradio, options, caches) are stand-ins.
"""

import ast
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch

from pack.nodes.host.training import train as training
from pack.nodes.save_lora import SaveLora
from pack.tests.host import scene

WEBUI = Path(os.environ.get("WEBUI_PATH", "no-webui"))
EXTENSIONS = ("extensions-builtin/Lora", "extensions-builtin/sd_forge_lora")
"""Where the WebUI and Forge keep the code of their LoRA page."""

pytestmark = [
    pytest.mark.main_host,
    pytest.mark.skipif(not WEBUI.exists(), reason="WEBUI_PATH names no checkout of a WebUI"),
]


def function(name, file, **names):
    """One function of a module that imports more than is here, with the names that it uses."""
    found = next(
        node
        for node in ast.walk(ast.parse((WEBUI / file).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    space = dict(names)
    exec(compile(ast.Module([found], []), file, "exec"), space)
    return space[name]


class Editor:
    """In the place of the WebUI's base class of metadata editors."""

    def __init__(self, ui, tabname, page):
        self.page = page

    def get_metadata_table(self, name):
        return []


@pytest.fixture
def webui(monkeypatch):
    """`network` and `ui_edit_user_metadata` of the LoRA page, and how it finds an image."""
    extension = next(WEBUI / name for name in EXTENSIONS if (WEBUI / name).exists())
    options = SimpleNamespace(lora_preferred_name="Alias from file", samples_format="png")
    reader = function("read_metadata_from_safetensors", "modules/sd_models.py", errors=MagicMock())
    standins = {
        "gradio": {},
        "modules": {},
        "modules.shared": {"opts": options},
        "modules.errors": {"display": pytest.fail, "report": pytest.fail},
        "modules.cache": {"cached_data_for_file": lambda title, name, file, read: read()},
        "modules.hashes": {"sha256_from_cache": lambda *_, **__: "ab" * 32},
        "modules.sd_models": {"read_metadata_from_safetensors": reader},
        "modules.ui_extra_networks_user_metadata": {"UserMetadataEditor": Editor},
        "networks": {"available_network_hash_lookup": {}, "forbidden_network_aliases": {}},
    }
    for name, content in standins.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        if name.startswith("modules."):
            setattr(sys.modules["modules"], name.partition(".")[2], module)
    monkeypatch.syspath_prepend(str(extension))
    extensions = lambda: ["png", "jpg"]  # noqa: E731
    find = function(
        "find_preview", "modules/ui_extra_networks.py", allowed_preview_extensions=extensions, os=os
    )
    page = SimpleNamespace(
        lister=SimpleNamespace(exists=lambda path: Path(path).is_file()), link_preview=Path
    )
    yield SimpleNamespace(
        network=importlib.import_module("network"),
        editor=importlib.import_module("ui_edit_user_metadata"),
        preview=lambda path: find(page, str(path.with_suffix(""))),
    )
    for name in ("network", "ui_edit_user_metadata"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / "loras"
    monkeypatch.setattr("pack.nodes.host.folders.loras_folder", lambda: path)
    hidden = SimpleNamespace(prompt=None, extra_pnginfo=None)
    monkeypatch.setattr(SaveLora, "hidden", hidden, raising=False)
    return path


@pytest.fixture
def lora(tiny, cached):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, scene.config(steps=1)))[0].lora


def read(webui, path):
    """What the page knows of a file: the network, and the table that its editor shows."""
    network = webui.network.NetworkOnDisk(path.stem, str(path))
    page = SimpleNamespace(items={path.stem: {"metadata": network.metadata}})
    return network, dict(
        webui.editor.LoraUserMetadataEditor(None, "", page).get_metadata_table(path.stem)
    )


def test_the_page_says_what_was_trained(webui, folder, lora):
    path = Path(SaveLora.execute(lora, name="mine").args[0])
    network, table = read(webui, path)
    assert network.sd_version.name == "SDXL" and network.get_alias() == "mine"
    assert webui.editor.build_tags(network.metadata)[0] == ("thing", 4)
    assert table.pop("Date trained:")
    assert table == {
        "Output name:": "mine",
        "Model:": "tiny.safetensors",
        "Kohya module:": "networks.lora",
        "Resolution:": "64x64",
        "Dataset size:": 4,
    }
    path.with_suffix(".png").write_bytes(b"")
    assert webui.preview(path) == path.with_suffix(".png")


def test_a_private_file_is_still_of_sdxl(webui, folder, lora):
    """A file of another version is hidden there while SDXL is loaded."""
    network, table = read(webui, Path(SaveLora.execute(lora, name="p", private=True).args[0]))
    assert network.sd_version.name == "SDXL"
    assert not {"Model:", "Dataset size:"} & table.keys()
    assert not webui.editor.build_tags(network.metadata)
