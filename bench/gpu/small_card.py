"""A big card that acts as a small one, for PyTorch and for ComfyUI's memory manager."""

from __future__ import annotations

from typing import Any

import torch

GIB = 1 << 30


def pretend(gib: float) -> None:
    """From now on PyTorch may use so much, and ComfyUI sees a card of that size. CUDA's context is beside it."""
    import comfy.model_management as mm

    limit = int(gib * GIB)
    torch.cuda.set_per_process_memory_fraction(
        limit / torch.cuda.get_device_properties(0).total_memory
    )
    total, free = mm.get_total_memory, mm.get_free_memory

    def is_card(device: Any) -> bool:
        return not mm.is_device_cpu(device or mm.get_torch_device())

    def total_here(dev: Any = None, torch_total_too: bool = False) -> Any:
        if not is_card(dev):
            return total(dev, torch_total_too)
        return (limit, limit) if torch_total_too else limit

    def free_here(dev: Any = None, torch_free_too: bool = False) -> Any:
        if not is_card(dev):
            return free(dev, torch_free_too)
        left = limit - torch.cuda.memory_allocated()
        inside = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return (left, inside) if torch_free_too else left

    mm.get_total_memory, mm.get_free_memory = total_here, free_here
