"""Between host and device: what goes there is not waited for, what comes back is read in one piece."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PIECE = 2**25
"""Bytes of one copy to the host."""


def send(tensor: Tensor, device: torch.device, *, pins: bool = False) -> Tensor:
    """The tensor on the device. With ``pins`` a copy to CUDA goes through pinned memory and takes its turn there."""
    if not pins or device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def read(tensors: Sequence[Tensor]) -> list[list[float]]:
    """The numbers of float tensors of one device, each [n]: waits for what computes them, once."""
    numbers = iter(torch.cat(list(tensors)).tolist())
    return [[next(numbers) for _ in range(len(tensor))] for tensor in tensors]


def fetch(tensors: Sequence[Tensor], *, pins: bool = False) -> list[Tensor]:
    """The tensors, of one device, on the CPU; those that are there already as they are.

    They come in as few copies as `PIECE` allows, however many they are; with ``pins`` from CUDA through
    pinned memory. Whole storages are copied, and what shares one there shares one here.
    """
    away = [tensor for tensor in tensors if tensor.device.type != "cpu"]
    copies = iter(_copied(away, pins=pins))
    return [tensor if tensor.device.type == "cpu" else next(copies) for tensor in tensors]


@torch.no_grad()
def _copied(tensors: Sequence[Tensor], *, pins: bool) -> list[Tensor]:
    stores: dict[int, tuple[Tensor, Tensor]] = {}
    found = []
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage._cdata not in stores:
            there = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            stores[storage._cdata] = there, torch.empty(there.shape, dtype=torch.uint8)
        here = stores[storage._cdata][1].untyped_storage()
        place = (tensor.storage_offset(), tensor.shape, tensor.stride())
        found.append(torch.empty(0, dtype=tensor.dtype).set_(here, *place))
    pieces: list[list[tuple[Tensor, Tensor]]] = [[]]
    room = PIECE
    for there, here in stores.values():
        for piece in zip(there.split(PIECE), here.split(PIECE), strict=True):
            if len(piece[0]) > room:
                pieces.append([])
                room = PIECE
            pieces[-1].append(piece)
            room -= len(piece[0])
    for piece in filter(None, pieces):
        _carry(*zip(*piece, strict=True), pins=pins)
    return found


def _carry(there: Sequence[Tensor], here: Sequence[Tensor], *, pins: bool) -> None:
    """Bytes, each [n], of a device to the CPU in one copy, which is waited for."""
    one = torch.cat(list(there)) if len(there) > 1 else there[0]
    staged = torch.empty(one.shape, dtype=one.dtype, pin_memory=pins and one.is_cuda)
    staged.copy_(one)
    for target, part in zip(here, staged.split([len(target) for target in here]), strict=True):
        target.copy_(part)
