"""LoRA files by name: listed, read and taken as a start."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ....base.small_file import read_json
from ....trainer.lora_files.file import LoraModel, read_lora
from ....trainer.lora_files.formats import to_kohya

_CONFIG = "adapter_config.json"
"""What peft writes beside an adapter."""


def lora_names() -> list[str]:
    """The files that ComfyUI lists LoRAs by."""
    return folder_paths.get_filename_list("loras")


def load_lora(name: str) -> LoraModel:
    """A LoRA of kohya, diffusers or peft under kohya's keys, with its metadata.

    Raises ValueError when the file is missing, broken or no SDXL LoRA.
    """
    return read_kohya(_path(name))


def read_kohya(path: Path) -> LoraModel:
    """`load_lora` for a path."""
    found = read_lora(path)
    beside = path.with_name(_CONFIG)
    config = read_json(beside) if beside.is_file() else None
    return LoraModel(to_kohya(found, found.metadata, config), found.metadata)


def lora_state(name: str) -> str:
    """Changes when the file does."""
    stat = _path(name).stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _path(name: str) -> Path:
    path = folder_paths.get_full_path("loras", name)
    if path is None:
        raise ValueError(f"There is no LoRA {name} in models/loras: choose another, or press R.")
    return Path(path)
