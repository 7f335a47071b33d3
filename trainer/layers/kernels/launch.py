"""How every kernel is started, and what they read and write with."""

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]  (not on every system)
import triton.language as tl  # pyright: ignore[reportMissingImports]

BLOCK = 1024
"""Elements that one program holds at a time."""


def launch(kernel, grid: tuple[int, ...], *arguments, **constants) -> None:
    """Start a kernel on the device of its first tensor. Every kernel starts here."""
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, BLOCK=BLOCK, **constants)


def blocks(size: int) -> int:
    """How many it takes to cover so many elements."""
    return -(-size // BLOCK)


@triton.jit
def read(x, offsets, inside):
    """Float32, and 0 where not inside."""
    return tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def write(x, offsets, value, inside):
    """In the dtype of what is written to."""
    tl.store(x + offsets, value.to(x.dtype.element_ty), mask=inside)
