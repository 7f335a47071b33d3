"""LoRA files by name: listed, read and taken as a start."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import comfy.utils
import folder_paths
from safetensors import SafetensorError
from torch import Tensor

from ....base.small_file import read_small
from ....trainer.files.digests import bytes_digest
from ....trainer.lora_files.embedding_file import without_embeddings
from ....trainer.lora_files.file import LoraModel, read_lora
from ....trainer.lora_files.formats import to_kohya
from ....trainer.lora_files.names import is_wrapped
from ....trainer.lora_files.peft_config import (
    DIFFUSERS_METADATA,
    AdapterConfig,
    parse_config,
)
from ....trainer.training.non_finite import not_finite

log = logging.getLogger(__name__)

UNUSABLE = (
    SafetensorError, pickle.UnpicklingError, OSError, RuntimeError, ValueError, KeyError, TypeError,
    AttributeError, IndexError, EOFError,
)  # fmt: skip
"""What ComfyUI's loaders raise for files that are cut off, empty, or of another kind."""

_CONFIG = "adapter_config.json"
"""What peft writes beside an adapter."""
_ADAPTER = "adapter_model"
"""What peft calls the adapter itself."""
_LARGEST_CONFIG = 4 * 1024**2
_SAFE = {".safetensors", ".sft"}
_PICKLED = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}
"""Files of torch.save, which ComfyUI reads as weights only."""


def lora_names() -> list[str]:
    """The files that ComfyUI lists LoRAs by."""
    return folder_paths.get_filename_list("loras")


def load_lora(name: str) -> LoraModel:
    """A LoRA under kohya's keys, with its metadata: of any program that `to_kohya` knows.

    An embedding that it carries stays with it.

    Raises ValueError when the file is missing, broken or no SDXL LoRA.
    """
    return read_kohya(_path(name))


def read_kohya(path: Path) -> LoraModel:
    """`load_lora` for a path."""
    found = _read(path)
    lora = without_embeddings(found)
    carried = {name: value for name, value in found.items() if name not in lora}
    tensors = to_kohya(lora or found, found.metadata, _config(path, found)) | carried
    bad = not_finite(tensors.items())
    if bad:
        log.warning(
            "LoRA Loop: %s has numbers that are not finite in %d tensors, e.g. %s: it is damaged, or its "
            "training ran away. Images made with it will be black.",
            path.name, len(bad), bad[0],
        )  # fmt: skip
    words = {key: value for key, value in found.metadata.items() if key != DIFFUSERS_METADATA}
    return LoraModel(tensors, words)  # each layer has its alpha now


def lora_state(name: str) -> str:
    """Changes when the file does, or what lies beside it and counts."""
    path = _path(name)
    stat = path.stat()
    config = path.with_name(_CONFIG)
    counts = _may_belong(path) and _is_small(config)
    beside = bytes_digest(read_small(config, _LARGEST_CONFIG)) if counts else ""
    return f"{stat.st_size} {stat.st_mtime_ns} {beside}"


def _config(path: Path, tensors: LoraModel) -> AdapterConfig | None:
    """The adapter config that belongs to the file: peft's beside peft's own file, or none.

    A peft file that was given another name has it too, where it is the only one in its folder.
    """
    beside = path.with_name(_CONFIG)
    if not beside.is_file() or not any(map(is_wrapped, tensors)):
        return None
    if not _may_belong(path):
        log.warning(
            "LoRA Loop: %s is not scaled by the %s beside it, which belongs to another file there.",
            path.name, _CONFIG,
        )  # fmt: skip
        return None
    if not _is_small(beside):
        raise ValueError(
            f"{beside} is larger than {_LARGEST_CONFIG} bytes: it is no config of peft."
        )
    return parse_config(read_small(beside, _LARGEST_CONFIG).decode("utf-8", "replace"), str(beside))


def _may_belong(path: Path) -> bool:
    """Whether a config beside this file is for it: by its name, or because no other can be meant."""
    if path.stem == _ADAPTER:
        return True
    others = (other for other in path.parent.iterdir() if other.suffix in _SAFE | _PICKLED)
    return all(other.name == path.name for other in others)


def _is_small(config: Path) -> bool:
    return config.is_file() and config.stat().st_size <= _LARGEST_CONFIG


def _read(path: Path) -> LoraModel:
    if path.suffix.lower() not in _PICKLED:
        return read_lora(path)
    try:
        found = comfy.utils.load_torch_file(str(path), safe_load=True)
        tensors = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    except pickle.UnpicklingError as error:  # torch's own advice would run what is in the file
        raise ValueError(
            f"{path} cannot be read as a LoRA: it is damaged, or it holds more than weights, and reading "
            "that can run programs. Take a .safetensors file of it."
        ) from error
    except UNUSABLE as error:
        raise ValueError(f"{path} cannot be read as a LoRA: {error}") from error
    return LoraModel(tensors, {})


def _path(name: str) -> Path:
    path = folder_paths.get_full_path("loras", name)
    if path is None:
        raise ValueError(f"There is no LoRA {name} in models/loras: choose another, or press R.")
    return Path(path)
