"""What is trained: one module for each kind of adapter, and the tables of the kinds."""

from __future__ import annotations

import torch

from ...config.lora import Algorithm
from ..unet_targets import Target
from .base import Adapter
from .dora import Dora
from .loha import Loha
from .lokr import Lokr
from .lora import Lora
from .oft import Boft, Oft
from .rebuilt import Rebuilt, lycoris

__all__ = ["Adapter", "Lora", "check_installed", "make_adapter"]

ADDING: dict[Algorithm, type[Lora] | type[Loha] | type[Lokr]] = {
    "lora": Lora,
    "loha": Loha,
    "lokr": Lokr,
}
TURNING: dict[Algorithm, type[Oft] | type[Boft]] = {"oft": Oft, "boft": Boft}


def make_adapter(target: Target, device: torch.device) -> Adapter:
    """A fresh adapter, which adds nothing once it is initialised and has measured its layer."""
    if target.algorithm in TURNING:
        return TURNING[target.algorithm](target, device)
    adapter = ADDING[target.algorithm](target, device)
    return Dora(target, adapter) if target.dora else adapter


def check_installed(algorithm: Algorithm) -> None:
    """Raise ValueError when the package that the algorithm needs is not there."""
    if issubclass(ADDING.get(algorithm, Lora), Rebuilt):
        lycoris(algorithm)
