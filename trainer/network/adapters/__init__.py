"""What is trained: one module for each kind of adapter, and the tables of the kinds."""

from __future__ import annotations

import torch

from ...config.lora import Algorithm
from ..unet_targets import Target
from .base import Adapter, Additive
from .dora import Dora
from .full import Full
from .loha import Loha
from .lokr import Lokr
from .lora import Lora
from .oft import Boft, Oft
from .rebuilt import Rebuilt, lycoris

__all__ = ["KINDS", "Adapter", "Full", "Lora", "check_installed", "make_adapter"]

KINDS: dict[Algorithm, type[Lora | Loha | Lokr | Oft | Boft | Full]] = {
    "lora": Lora,
    "loha": Loha,
    "lokr": Lokr,
    "oft": Oft,
    "boft": Boft,
    "full": Full,
}


def make_adapter(target: Target, device: torch.device) -> Adapter:
    """A fresh adapter, which adds nothing once it is initialised and has measured its layer."""
    adapter = KINDS[target.algorithm](target, device)
    return Dora(target, adapter) if target.dora and isinstance(adapter, Additive) else adapter


def check_installed(algorithm: Algorithm) -> None:
    """Raise ValueError when the package that the algorithm needs is not there."""
    if issubclass(KINDS[algorithm], Rebuilt):
        lycoris(algorithm)
