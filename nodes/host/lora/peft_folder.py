"""A LoRA as peft's folders: adapter_model.safetensors and adapter_config.json, written by peft itself."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ....base.inside import inside
from ....base.plain_names import plain_name
from ....base.write_errors import writing
from ....trainer.config.checkpoints import Precision
from ....trainer.files.digests import file_digest
from ....trainer.lora_files.file import DTYPES, check_cast, check_precision
from ....trainer.lora_files.formats import diffusers_path
from ....trainer.lora_tools.factors import Factors, as_tensors, read_factors
from ..progress import check_interrupt
from .tools import as_kohya

_FOLDERS = {"unet": "", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"}
"""diffusers' component -> where its adapter lies in the folder: the UNet's at its top."""
_CARD = "README.md"
"""A form that peft writes too and that nobody has filled in."""
CONFIG = "adapter_config.json"
"""Beside every adapter that was written."""
_MOST = 999


def export_peft(lora: Mapping[str, Tensor], root: Path, name: str, precision: Precision) -> Path:
    """Write the LoRA below ``root / name`` and return that folder.

    A folder that is there is never touched: one that holds the same is given back, else the next free of
    ``name_2``, ``name_3`` ... is made, whole or not at all.

    The names of layers are those of diffusers' models. Factors keep their values, in ``precision``, and
    the config says their alphas.

    Raises:
        ValueError: it is no plain LoRA, a layer has no name in diffusers or numbers too large for
            ``precision``, ``name`` is none, or peft is missing.
        CannotWrite: the folder cannot be written.
    """
    peft = _peft()
    name = plain_name(name.strip(), "name a folder")
    dtype = DTYPES[check_precision(precision)]
    layers = read_factors(as_kohya(lora))
    tensors = as_tensors(layers)
    check_cast(tensors, {key: value.to(dtype) for key, value in tensors.items()}, precision)
    components = _by_component(layers)
    with writing(root / name):
        root.mkdir(parents=True, exist_ok=True)
    with writing(root / name), tempfile.TemporaryDirectory(dir=root, prefix=".peft-") as unfinished:
        made = Path(unfinished) / "export"
        for component, layers in components.items():
            check_interrupt()
            folder = inside(made / _FOLDERS[component], root)
            folder.mkdir(parents=True, exist_ok=True)
            _write(peft, folder, layers, dtype)
        target = _place(root, name, made)
        if not target.exists():
            made.rename(inside(target, root))
    return target


def _peft() -> ModuleType:
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise ValueError(
            "Export to peft needs the package peft in ComfyUI's Python, which is not installed: pip install "
            "peft. Save LoRA with the format diffusers needs none."
        ) from error


def _by_component(layers: Mapping[str, Factors]) -> dict[str, dict[str, Factors]]:
    found: dict[str, dict[str, Factors]] = {}
    for stem, layer in layers.items():
        component, _, path = diffusers_path(stem).partition(".")
        found.setdefault(component, {})[path] = layer
    return found


def _place(root: Path, name: str, made: Path) -> Path:
    """The folder that holds this very export, or the next free one."""
    for number in range(1, _MOST + 1):
        target = root / (name if number == 1 else f"{name}_{number}")
        if not target.exists() or _contents(target) == _contents(made):
            return target
    raise ValueError(f"There are already {_MOST} folders named like {root / name}; clean up.")


def _contents(folder: Path) -> dict[str, str]:
    """Digests of the files of an export, by path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def _write(
    peft: ModuleType, folder: Path, layers: Mapping[str, Factors], dtype: torch.dtype
) -> None:
    """One adapter, on a model of nothing but the layers that it changes, whose weights have no memory."""
    ranks = {path: layer.rank for path, layer in layers.items()}
    alphas = {path: layer.alpha for path, layer in layers.items()}
    rank, alpha = max(ranks.values()), max(alphas.values())
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        rank_pattern={path: own for path, own in ranks.items() if own != rank},
        alpha_pattern={path: own for path, own in alphas.items() if own != alpha},
        target_modules=list(layers),
    )
    model = peft.get_peft_model(_skeleton(layers), config, low_cpu_mem_usage=True)
    for path, layer in layers.items():
        adapted: Any = model.base_model.model.get_submodule(path)
        parts = layer.parts()
        for own, part in (("lora_A", "lora_down.weight"), ("lora_B", "lora_up.weight")):
            weight = parts[part].to(dtype)
            getattr(adapted, own)["default"].weight = nn.Parameter(weight, requires_grad=False)
    # peft shortens the list to endings that are enough for this model, and would be too many for the real one
    model.peft_config["default"].target_modules = sorted(layers)
    model.save_pretrained(str(folder))
    (folder / _CARD).unlink(missing_ok=True)


def _skeleton(layers: Mapping[str, Factors]) -> nn.Module:
    """Modules at the paths of the layers, of their shapes, on the meta device."""
    root = nn.Module()
    for path, layer in layers.items():
        at = root
        *parents, name = path.split(".")
        for parent in parents:
            if not hasattr(at, parent):
                at.add_module(parent, nn.Module())
            at = at.get_submodule(parent)
        at.add_module(name, _layer(layer))
    return root


def _layer(layer: Factors) -> nn.Module:
    out, (columns, *kernel) = layer.up.shape[0], layer.row
    if not kernel:
        return nn.Linear(columns, out, bias=False, device="meta")
    return nn.Conv2d(columns, out, (kernel[0], kernel[1]), bias=False, device="meta")
