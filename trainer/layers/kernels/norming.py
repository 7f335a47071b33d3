"""Group norm with SiLU and its way back, two passes over memory each: one for what a group has in common.

A program goes through one channel of one image, or takes a block of it, so that the channel's weight
and bias are single numbers and what it reads lies side by side.
"""

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]  (not on every system)
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from .launch import blocks, launch, read, write

CHANNELS = 128
"""So many channels of a group are read at once, or more if it has more; SDXL's have 80 at most."""
UNSPECIAL = ("channels", "each")
"""Sizes for which no kernel of its own is built."""


def norm_silu(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As elementwise.norm_silu; the statistics are float32."""
    x = x.contiguous()
    (planes, pixels), each = _planes(x), x.shape[1] // groups
    of_planes = x.new_empty(2, planes, dtype=torch.float32)
    mean, rstd = x.new_empty(2, x.shape[0], groups, dtype=torch.float32)
    output = torch.empty_like(x)
    launch(_moments, (planes,), x, *of_planes, pixels)
    given = x, weight, bias, *of_planes, output, mean, rstd
    sizes = x.shape[1], each, pixels
    launch(_norm_silu, (planes, blocks(pixels)), *given, *sizes, eps, CHANNELS=_at_least(each))
    return output, mean, rstd


def norm_silu_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    statistics: tuple[Tensor, Tensor],
    groups: int,
    eps: float,
) -> Tensor:
    """As elementwise.norm_silu_backward, by the statistics alone."""
    grad, x = grad.contiguous(), x.contiguous()
    (planes, pixels), each = _planes(x), x.shape[1] // groups
    of_planes = x.new_empty(2, planes, dtype=torch.float32)
    of_x = torch.empty_like(x)
    given = grad, x, weight, bias, *statistics, *of_planes
    sizes = x.shape[1], each, pixels
    launch(_sums, (planes,), *given, *sizes)
    launch(
        _norm_silu_backward,
        (planes, blocks(pixels)),
        *given,
        of_x,
        *sizes,
        CHANNELS=_at_least(each),
    )
    return of_x


def _planes(x: Tensor) -> tuple[int, int]:
    """Channels of all images, and pixels of each."""
    batch, channels, height, width = x.shape
    return batch * channels, height * width


def _at_least(channels: int) -> int:
    """A power of two."""
    return max(CHANNELS, 1 << (channels - 1).bit_length())


@triton.jit
def _moments(x, means, spreads, pixels, BLOCK: tl.constexpr):
    """Mean of each channel and its summed squared deviations. Source: Welford 1962, Chan et al. 1983."""
    plane = tl.program_id(0).to(tl.int64)
    count = tl.zeros((BLOCK,), tl.float32)
    mean = tl.zeros((BLOCK,), tl.float32)
    spread = tl.zeros((BLOCK,), tl.float32)
    start = 0
    while start < pixels:
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < pixels
        away = tl.where(inside, read(x, plane * pixels + pixel, inside) - mean, 0.0)
        count += inside.to(tl.float32)
        share = 1.0 / tl.maximum(count, 1.0)
        mean += away * share
        spread += away * away * (1.0 - share)
        start += BLOCK
    total = tl.sum(count * mean, 0) / pixels
    apart = mean - total
    tl.store(means + plane, total)
    tl.store(spreads + plane, tl.sum(spread + count * apart * apart, 0))


@triton.jit(do_not_specialize=UNSPECIAL)
def _norm_silu(
    x,
    weight,
    bias,
    means,
    spreads,
    output,
    group_mean,
    group_rstd,
    channels,
    each,
    pixels,
    eps,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    plane, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    group, member = plane // each, tl.arange(0, CHANNELS)
    known = member < each
    centres = read(means, group * each + member, known)
    mean = tl.sum(centres, 0) / each
    apart = tl.where(known, centres - mean, 0.0)
    spread = tl.sum(read(spreads, group * each + member, known) + pixels * apart * apart, 0)
    rstd = 1.0 / tl.sqrt(spread / (each * pixels) + eps)
    if (plane % each == 0) & (block == 0):
        tl.store(group_mean + group, mean)
        tl.store(group_rstd + group, rstd)
    scale = tl.load(weight + plane % channels).to(tl.float32)
    shift = tl.load(bias + plane % channels).to(tl.float32)
    pixel = block * BLOCK + tl.arange(0, BLOCK)
    offsets, inside = plane * pixels + pixel, pixel < pixels
    normed = (read(x, offsets, inside) - mean) * rstd * scale + shift
    write(output, offsets, normed * tl.sigmoid(normed), inside)


@triton.jit(do_not_specialize=UNSPECIAL)
def _sums(
    grad,
    x,
    weight,
    bias,
    group_mean,
    group_rstd,
    sums,
    products,
    channels,
    each,
    pixels,
    BLOCK: tl.constexpr,
):
    """For each channel: its gradients summed, and summed after the product with the normalised x."""
    plane = tl.program_id(0).to(tl.int64)
    scale = tl.load(weight + plane % channels).to(tl.float32)
    shift = tl.load(bias + plane % channels).to(tl.float32)
    mean = tl.load(group_mean + plane // each).to(tl.float32)
    rstd = tl.load(group_rstd + plane // each).to(tl.float32)
    plain = tl.zeros((BLOCK,), tl.float32)
    product = tl.zeros((BLOCK,), tl.float32)
    start = 0
    while start < pixels:
        pixel = start + tl.arange(0, BLOCK)
        offsets, inside = plane * pixels + pixel, pixel < pixels
        unit = (read(x, offsets, inside) - mean) * rstd
        of_unit = read(grad, offsets, inside) * _slope(unit * scale + shift) * scale
        plain += of_unit
        product += of_unit * unit
        start += BLOCK
    tl.store(sums + plane, tl.sum(plain, 0))
    tl.store(products + plane, tl.sum(product, 0))


@triton.jit(do_not_specialize=UNSPECIAL)
def _norm_silu_backward(
    grad,
    x,
    weight,
    bias,
    group_mean,
    group_rstd,
    sums,
    products,
    of_x,
    channels,
    each,
    pixels,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    plane, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    group, member = plane // each, tl.arange(0, CHANNELS)
    known = member < each
    plain = tl.sum(read(sums, group * each + member, known), 0) / (each * pixels)
    product = tl.sum(read(products, group * each + member, known), 0) / (each * pixels)
    scale = tl.load(weight + plane % channels).to(tl.float32)
    shift = tl.load(bias + plane % channels).to(tl.float32)
    mean = tl.load(group_mean + group).to(tl.float32)
    rstd = tl.load(group_rstd + group).to(tl.float32)
    pixel = block * BLOCK + tl.arange(0, BLOCK)
    offsets, inside = plane * pixels + pixel, pixel < pixels
    unit = (read(x, offsets, inside) - mean) * rstd
    of_unit = read(grad, offsets, inside) * _slope(unit * scale + shift) * scale
    write(of_x, offsets, rstd * (of_unit - plain - unit * product), inside)


@triton.jit
def _slope(x):
    """The derivative of silu."""
    gate = tl.sigmoid(x)
    return gate * (1.0 + x * (1.0 - gate))
