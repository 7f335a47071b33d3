"""A private base directory for ComfyUI: models, inputs, and this pack among its custom nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
PACK = "lora-loop"
CHECKPOINT = "sd_xl_base_1.0.safetensors"
TAGGER = "wd-swinv2-tagger-v3"
DATASET = "lora_loop_example"

LOADER = '''"""Loads the package at {path!r} from its own place."""
import importlib.util
import sys
from pathlib import Path

root = Path({path!r})
spec = importlib.util.spec_from_file_location(
    {name!r}, root / "__init__.py", submodule_search_locations=[str(root)]
)
package = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = package
spec.loader.exec_module(package)
'''
EXPORTS = """
comfy_entrypoint = package.comfy_entrypoint
WEB_DIRECTORY = str((root / package.WEB_DIRECTORY).resolve())
"""
REGISTER = """
from lora_loop_demo import tiny_sdxl
from lora_loop_demo.base_model import checkpoint

tiny_sdxl.register()
checkpoint.register()
path = Path({path!r})
if not path.exists():
    {write}(path)
NODE_CLASS_MAPPINGS = {{}}
"""
MODELS = {"random": "tiny_sdxl.write_checkpoint", "drawing": "checkpoint.write"}
"""What writes each of the small models: weights of chance, and those that draw pixel art."""


def make_folders(base: Path) -> None:
    """What ComfyUI wants to find in a base directory."""
    for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)


def prepare(
    base: str | Path, with_pack: bool = True, model: Literal["random", "drawing"] | None = "random"
) -> Path:
    """Make the folders, and loader packages where links would need rights that Windows withholds.

    The server knows both small models and writes the one asked for when it starts without one.
    """
    base = Path(base).resolve()
    make_folders(base)
    if with_pack:
        _write_loader(base / "custom_nodes" / PACK, ROOT, "lora_loop_pack", EXPORTS)
    if model:
        demo = ROOT / "demo"
        ending = REGISTER.format(path=str(checkpoint_path(base)), write=MODELS[model])
        _write_loader(base / "custom_nodes" / "tiny-models", demo, "lora_loop_demo", ending)
    return base


def checkpoint_path(base: Path, name: str = CHECKPOINT) -> Path:
    """Where the checkpoint loader looks for `name`."""
    return base / "models" / "checkpoints" / name


def tagger_path(base: Path) -> Path:
    """The folder of the tagger that the example workflows name."""
    return base / "models" / "wd14_tagger" / TAGGER


def dataset_path(base: Path) -> Path:
    """The dataset folder that the example workflows name."""
    return base / "input" / DATASET


def _write_loader(folder: Path, package: Path, name: str, ending: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = LOADER.format(path=str(package), name=name) + ending
    (folder / "__init__.py").write_text(text, encoding="utf-8")
