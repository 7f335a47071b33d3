"""GEGLU and its way back, a pass over memory each."""

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]  (not on every system)
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from .launch import blocks, launch, read, write


def geglu(both: Tensor) -> Tensor:
    """As elementwise.geglu."""
    both = both.contiguous()
    product = both.new_empty(*both.shape[:-1], both.shape[-1] // 2)
    launch(_geglu, _grid(product), both, product, product.shape[-1])
    return product


def geglu_backward(grad: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """As elementwise.geglu_backward; the product takes the place of grad."""
    grad, both = grad.contiguous(), both.contiguous()
    of_both = torch.empty_like(both)
    launch(_geglu_backward, _grid(grad), grad, both, of_both, grad, grad.shape[-1])
    return of_both, grad


def _grid(product: Tensor) -> tuple[int, int]:
    """A program for each block of each row."""
    width = product.shape[-1]
    return product.numel() // width, blocks(width)


@triton.jit
def _geglu(both, product, width, BLOCK: tl.constexpr):
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    value = read(both, row * 2 * width + column, inside)
    gate = read(both, row * 2 * width + width + column, inside)
    write(product, row * width + column, value * (gate * _below(gate)), inside)


@triton.jit
def _geglu_backward(grad, both, of_both, product, width, BLOCK: tl.constexpr):
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    values, gates = row * 2 * width + column, row * 2 * width + width + column
    upstream = read(grad, row * width + column, inside)
    value, gate = read(both, values, inside), read(both, gates, inside)
    below = _below(gate)
    density = 0.3989422804014327 * tl.exp(-0.5 * gate * gate)
    write(of_both, values, upstream * (gate * below), inside)
    write(of_both, gates, upstream * value * (below + gate * density), inside)
    write(product, row * width + column, value * (gate * below), inside)


@triton.jit
def _below(gate):
    """The part of a normal distribution that lies below gate; gelu is gate times it."""
    return 0.5 * (1.0 + tl.math.erf(gate * 0.7071067811865476))
