"""What is trained: one module for each kind of adapter, and the table of the kinds."""

from __future__ import annotations

import torch

from ...config.lora import Algorithm
from ...frozen.weights import Weights
from ..unet_targets import Target
from .base import Adapter
from .dora import Dora
from .loha import Loha
from .lokr import Lokr
from .lora import Lora
from .rebuilt import Rebuilt, lycoris

__all__ = ["KINDS", "Adapter", "Lora", "check_installed", "make_adapter"]

KINDS: dict[Algorithm, type[Lora] | type[Loha] | type[Lokr]] = {
    "lora": Lora,
    "loha": Loha,
    "lokr": Lokr,
}


def make_adapter(
    target: Target, seed: int, device: torch.device, weights: Weights | None = None
) -> Adapter:
    """A fresh adapter that adds nothing yet. weights: where DoRA learns the lengths of the columns."""
    adapter = KINDS[target.algorithm](target, device)
    adapter.initialise(seed)
    if not target.dora:
        return adapter
    if weights is None:
        raise TypeError("DoRA needs the frozen weights")
    return Dora(target, adapter, weights)


def check_installed(algorithm: Algorithm) -> None:
    """Raise ValueError when the package that the algorithm needs is not there."""
    if issubclass(KINDS[algorithm], Rebuilt):
        lycoris(algorithm)
