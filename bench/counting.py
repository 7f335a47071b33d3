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
    known = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False, custom_mapping=MORE) as counter:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value = loss()
        saved = sum(kept.values())
        value.backward()
    return Counts(saved, counter.get_total_flops())
