"""Values of any kind added to a digest by their contents: the same after a restart, other for another value."""

from __future__ import annotations

import enum
import functools
import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn


class Hash(Protocol):
    """A digest of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""
        ...


SAMPLES = 64
"""Numbers read of each tensor, at fixed places spread over it."""

DEPTH = 24
"""Values that lie deeper in others than this count by their type alone."""

NAMES_OF_A_FILE = "loaded_keys"
"""An attribute of ComfyUI's adapters: which keys of a file they were read from. It computes nothing."""


def add_tensor(digest: Hash, key: str, value: Tensor) -> None:
    """Key, shape, dtype and sampled numbers of a tensor; a quantised one's numbers as they are meant."""
    digest.update(f"{key}|{tuple(value.shape)}|{value.dtype}".encode())
    if value.is_meta or not value.numel():
        return
    if type(value) not in (Tensor, nn.Parameter) and hasattr(value, "dequantize"):
        value = value.dequantize()
    flat = value.detach().reshape(-1)
    places = torch.linspace(0, flat.numel() - 1, min(SAMPLES, flat.numel()), dtype=torch.float64)
    picked = flat[places.round().long().to(flat.device)].cpu().contiguous()
    digest.update(picked.view(torch.uint8).numpy().tobytes())


def add_value(digest: Hash, value: object, _above: tuple[int, ...] = ()) -> None:
    """Contents of a value; of functions code, defaults and what they close over. No path and no id.

    What has no contents that can be read counts by the name of its type. ``_above``: the values that
    this one lies in, which may contain themselves.
    """
    if id(value) in _above:
        digest.update(b"<above>")
        return
    below = (*_above, id(value))
    if isinstance(value, Tensor):
        add_tensor(digest, "", value)
    elif isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)}".encode())
        for part in value:
            add_value(digest, part, below)
    elif isinstance(value, (str, int, float, bool, type(None))) and not isinstance(
        value, enum.Enum
    ):
        digest.update(repr(value).encode())
    else:
        _add_other(digest, value, below)


def _add_other(digest: Hash, value: object, above: tuple[int, ...]) -> None:
    """What is neither a tensor, a number, a text nor a row of values."""
    digest.update(type(value).__name__.encode())
    if len(above) > DEPTH or hasattr(value, "patches_uuid"):  # a whole MODEL is loaded and changes
        return
    has_parts = _parts.dispatch(type(value)) is not _parts.dispatch(object)
    if hasattr(value, "__dict__") and not has_parts:
        _add_attributes(digest, value, above)
        return
    for part in _parts(value):
        add_value(digest, part, above)


def _add_attributes(digest: Hash, value: object, above: tuple[int, ...]) -> None:
    for name, part in sorted(vars(value).items()):
        digest.update(name.encode())
        if name == NAMES_OF_A_FILE:
            digest.update(type(part).__name__.encode())
        else:
            add_value(digest, part, above)


@functools.singledispatch
def _parts(value: object) -> Iterable[object]:
    """What makes up a value of a kind that has no attributes, or has them elsewhere."""
    return [getattr(value, "__qualname__", "")] if callable(value) else ()


@_parts.register(enum.Enum)
@_parts.register(ModuleType)
def _(value: Any) -> Iterable[object]:
    return [getattr(value, "name", "") or value.__name__]


@_parts.register(type)
def _(value: Any) -> Iterable[object]:
    return [f"{value.__module__}.{value.__qualname__}"]


@_parts.register(bytes)
@_parts.register(complex)
@_parts.register(torch.dtype)
def _(value: object) -> Iterable[object]:
    return [repr(value)]


@_parts.register(Mapping)
def _(value: Any) -> Iterable[object]:
    return [part for key in sorted(value, key=str) for part in (key, value[key])]


@_parts.register(AbstractSet)
def _(value: AbstractSet[object]) -> Iterable[object]:
    return sorted(content_digest(part) for part in value)


@_parts.register(np.ndarray)
def _(value: np.ndarray) -> Iterable[object]:
    return [value.dtype.str, value.shape, value.tobytes()]


@_parts.register(functools.partial)
def _(value: functools.partial[Any]) -> Iterable[object]:
    return [value.func, value.args, value.keywords]


@_parts.register(MethodType)
def _(value: MethodType) -> Iterable[object]:
    return [value.__func__, value.__self__]


@_parts.register(FunctionType)
def _(value: FunctionType) -> Iterable[object]:
    cells = [_held(cell) for cell in value.__closure__ or ()]
    whose = [value.__module__, value.__qualname__]
    return [*whose, value.__code__, value.__defaults__, value.__kwdefaults__, cells]


@_parts.register(CodeType)
def _(value: CodeType) -> Iterable[object]:
    return [value.co_code, value.co_names, value.co_consts]


@_parts.register(nn.Module)
def _(value: nn.Module) -> Iterable[object]:
    """Classes, plain attributes and tensors of a module and of all modules in it."""
    parts: list[object] = []
    for path, part in value.named_modules():
        plain = {
            name: held
            for name, held in vars(part).items()
            if name != "training" and not name.startswith("_") and isinstance(held, _PLAIN)
        }
        parts += [path, type(part), plain]
    return [*parts, dict(value.state_dict())]


_PLAIN = (str, int, float, bool, type(None), torch.dtype, enum.Enum)


def _held(cell: CellType) -> object:
    """What a function closes over."""
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def content_digest(value: object) -> str:
    """The contents of a value as 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    add_value(digest, value)
    return digest.hexdigest()
