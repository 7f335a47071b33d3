"""Models made by hand, whatever ComfyUI's dynamic VRAM is doing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def whole_layers() -> Iterator[None]:
    """Layers of ComfyUI's classes that are made here have weights.

    While dynamic VRAM is on, a linear layer has none until a checkpoint is loaded into it.
    """
    memory: Any = sys.modules.get("comfy.memory_management")  # old versions have none
    paging = getattr(memory, "aimdo_enabled", False)
    if paging:
        memory.aimdo_enabled = False
    try:
        yield
    finally:
        if paging:
            memory.aimdo_enabled = True
