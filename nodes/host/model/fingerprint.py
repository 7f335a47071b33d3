"""A digest of a model's contents: the same after a restart, another after any change."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Protocol

import torch
from torch import Tensor

from .host_types import Patcher


class Hash(Protocol):
    """A digest of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""
        ...


SAMPLES = 64
"""Numbers read of each tensor, at fixed places spread over it."""


def fingerprint(patcher: Patcher, *extra: object, without: Collection[str] = ()) -> str:
    """Digest of keys, shapes, dtypes, sampled bytes, patches and model sampling.

    patcher: a ModelPatcher (of a UNet, text encoders or VAE). extra: what else counts; without:
    keys of tensors that do not. Weights that ComfyUI has patched in place are read from its
    backup, so a loaded and an unloaded model agree. Nothing of a path or an id enters.
    """
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(patcher.model.state_dict().items()):
        if key in without:
            continue
        saved = patcher.backup.get(key)
        _add_tensor(digest, key, value if saved is None else saved.weight)
    for key, patches in sorted(patcher.patches.items(), key=lambda kv: str(kv[0])):
        digest.update(str(key).encode())
        _add_value(digest, patches)
    patched = patcher.object_patches.get("model_sampling")
    sampling = patched or getattr(patcher.model, "model_sampling", None)
    if sampling is not None:  # its class says what the model predicts, which no tensor does
        digest.update("/".join(c.__name__ for c in type(sampling).__mro__).encode())
        for key, value in sorted(sampling.state_dict().items()):
            _add_tensor(digest, key, value)
    digest.update(repr(extra).encode())
    return digest.hexdigest()


def _add_tensor(digest: Hash, key: str, value: Tensor) -> None:
    digest.update(f"{key}|{tuple(value.shape)}|{value.dtype}".encode())
    if value.is_meta or not value.numel():
        return
    if type(value) not in (Tensor, torch.nn.Parameter) and hasattr(value, "dequantize"):
        value = value.dequantize()
    flat = value.detach().reshape(-1)
    places = torch.linspace(0, flat.numel() - 1, min(SAMPLES, flat.numel()), dtype=torch.float64)
    picked = flat[places.round().long().to(flat.device)].cpu().contiguous()
    digest.update(picked.view(torch.uint8).numpy().tobytes())


def _add_value(digest: Hash, value: object) -> None:
    """Contents of a patch: tensors by sampled bytes, containers by their parts, the rest by repr."""
    if isinstance(value, Tensor):
        _add_tensor(digest, "", value)
    elif isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)}".encode())
        for part in value:
            _add_value(digest, part)
    elif isinstance(value, (str, int, float, bool, type(None))):
        digest.update(repr(value).encode())
    elif hasattr(value, "__dict__"):
        digest.update(type(value).__name__.encode())
        for name, part in sorted(vars(value).items()):
            digest.update(name.encode())
            _add_value(digest, part)
    else:
        digest.update(type(value).__name__.encode())
