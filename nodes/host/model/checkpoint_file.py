"""Which checkpoint a MODEL came from."""

from __future__ import annotations

from pathlib import Path

from ....trainer.files.index import FileIndex
from ....trainer.lora_files.metadata import ModelFile
from ....trainer.lora_files.model_hashes import sha256, short_hash
from ..folders import cache_root
from .host_types import Patcher

_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".sft")


def model_file(patcher: Patcher) -> ModelFile | None:
    """What identifies the file that the MODEL came from.

    Reading a checkpoint for its hash takes some seconds: it is done once per file.
    """
    path = _model_path(patcher)
    return None if path is None else ModelFile(path.name, _sha256(path), short_hash(path))


def model_name(patcher: Patcher) -> str:
    """The name of the file that the MODEL came from; "" where it is not known."""
    path = _model_path(patcher)
    return "" if path is None else path.name


def _model_path(patcher: Patcher) -> Path | None:
    """The file that the MODEL came from, where ComfyUI remembers its loader's arguments."""
    _, arguments, *_ = getattr(patcher, "cached_patcher_init", None) or (None, ())
    names = [a for a in arguments if isinstance(a, str) and a.endswith(_SUFFIXES)]
    path = Path(names[0]) if names else None
    return path if path is not None and path.is_file() else None


def _sha256(path: Path) -> str:
    index = FileIndex(cache_root() / "sha256.json")
    found = index.digest(path, sha256)
    index.save()
    return found
