"""A ComfyUI on a machine that has little but PyTorch, and its dynamic VRAM without its server."""

from __future__ import annotations

import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any

NOT_NEEDED = {
    "av": ("container", "subtitles", "subtitles.stream", "video", "video.reformatter"),
    "comfy_kitchen": (),
}
"""Packages, with their modules, that ComfyUI imports and a training does not use."""


class Empty(types.ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def stand_in() -> list[str]:
    """Put empty modules where packages are missing that are not needed; their names."""
    missing = [name for name in NOT_NEEDED if importlib.util.find_spec(name) is None]
    for package in missing:
        for name in (package, *(f"{package}.{part}" for part in NOT_NEEDED[package])):
            module = sys.modules[name] = Empty(name)
            module.__spec__ = ModuleSpec(name, None)  # others look whether there is one
    return missing


def enable_dynamic_vram() -> bool:
    """As ComfyUI's main module does when it starts; False where this version or machine has none.

    Must come before ComfyUI's models are imported: comfy-aimdo looks for its library only then.
    """
    try:
        import comfy_aimdo.control as control  # pyright: ignore[reportMissingImports]  (newer versions' own)
    except ImportError:
        return False
    try:
        control.init(nvml_pressure=True)
    except TypeError:  # comfy-aimdo up to 0.4.10
        control.init()
    import comfy.memory_management
    import comfy.model_management as mm
    import comfy.model_patcher

    if not hasattr(comfy.model_patcher, "ModelPatcherDynamic"):
        return False
    from comfy_aimdo import model_vbar  # pyright: ignore[reportMissingImports]

    if model_vbar.lib is not control.lib:
        raise RuntimeError("ComfyUI's models were imported before the library of dynamic VRAM.")
    devices = [d.index for d in mm.get_all_torch_devices() if d.index is not None]
    try:
        started = control.init_devices((index, 0) for index in devices)
    except TypeError:  # comfy-aimdo up to 0.4.9 takes no headroom
        started = control.init_devices(devices)
    if started:
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True
    return bool(started)
