"""Between host and device: what goes there is not waited for, what comes back is read in one piece."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device, *, pins: bool = False) -> Tensor:
    """The tensor on the device. With ``pins`` a copy to CUDA goes through pinned memory and takes its turn there."""
    if not pins or device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def read(tensors: Sequence[Tensor]) -> list[list[float]]:
    """The numbers of float tensors of one device, each [n]: waits for what computes them, once."""
    numbers = iter(torch.cat(list(tensors)).tolist())
    return [[next(numbers) for _ in range(len(tensor))] for tensor in tensors]
