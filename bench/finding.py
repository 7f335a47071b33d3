"""This repository as the package `pack` and, where asked for, ComfyUI's modules: for the scripts here.

After `find_pack` a script is a module of that package too, so that it imports relatively as the
others do.
"""

from __future__ import annotations

import os
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def find_pack(root: Path = ROOT) -> None:
    """Let `import pack` find this repository; its root and the folders of scripts leave `sys.path`.

    root: of another checkout, whose code a script of this one is to measure.
    """
    ours = (ROOT, ROOT / "bench", ROOT / "bench" / "gpu")
    sys.path = [p for p in sys.path if Path(p or ".").resolve() not in ours]
    pack = types.ModuleType("pack")
    pack.__path__ = [str(root)]
    sys.modules["pack"] = pack
    script = sys.modules["__main__"]
    path = Path(getattr(script, "__file__", None) or ".").resolve()
    if path.is_relative_to(ROOT / "bench"):
        name = ".".join(("pack", *path.relative_to(ROOT).with_suffix("").parts))
        script.__spec__ = ModuleSpec(name, None)
        script.__package__ = script.__spec__.parent


def import_comfyui(base: Path | None = None, device: str = "cpu", root: Path | None = None) -> None:
    """ComfyUI's modules from $COMFYUI_PATH on ``device``, with ``base`` as base directory, and `pack`.

    root: see `find_pack`.
    """
    comfyui = os.environ.get("COMFYUI_PATH")
    if not comfyui:
        sys.exit("Set COMFYUI_PATH to a ComfyUI.")
    find_pack(root or ROOT)
    sys.path.insert(0, comfyui)
    import comfy.cli_args

    comfy.cli_args.args.cpu = device == "cpu"
    if base is not None:
        for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
            (base / name).mkdir(parents=True, exist_ok=True)  # the pack may be an older one
        comfy.cli_args.args.base_directory = str(base)
