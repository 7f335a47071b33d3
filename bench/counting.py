"""What one step needs, counted and not timed: bytes kept for backward, floating point operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

_aten = torch.ops.aten


def _addmm(_: Size, a: Size, b: Size, **__: Any) -> int:
    return 2 * a[0] * a[1] * b[1]


def _attention(query: Size, key: Size, value: Size, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad: Size, query: Size, key: Size, value: Size, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


MORE = {
    _aten.addmm_: _addmm,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Products that the counter does not know by itself."""


class Counts(NamedTuple):
    """saved: bytes kept between forward and backward, weights left out; flops: of both."""

    saved: int
    flops: int


def count(loss: Callable[[], Tensor], weights: Iterable[Tensor]) -> Counts:
    """Counts of one forward, as ``loss`` does it, and its backward."""
    with FlopCounterMode(display=False, custom_mapping=MORE) as counter:
        value, saved = kept_bytes(loss, weights)
        value.backward()
    return Counts(saved, counter.get_total_flops())


def kept_bytes(forward: Callable[[], Tensor], weights: Iterable[Tensor]) -> tuple[Tensor, int]:
    """What the forward gives, and the bytes that autograd keeps of it, weights left out."""
    known = {weight.untyped_storage()._cdata for weight in weights}
    kept: dict[int, Any] = {}  # the storages themselves, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = forward()
    return value, sum(storage.nbytes() for storage in kept.values())
