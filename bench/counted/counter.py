"""What one step needs, counted and not timed: bytes kept for backward, operations, products."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
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


def _baddbmm(_: Size, a: Size, b: Size, **__: Any) -> int:
    return 2 * a[0] * a[1] * a[2] * b[2]


MORE = {
    _aten.addmm_: _addmm,
    _aten.baddbmm_: _baddbmm,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Products that the counter does not know by itself."""

FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}
"""Operations that touch no number, beside views."""


class Counts(NamedTuple):
    """saved: bytes kept between forward and backward, weights left out; of both: flops, and launches,
    the operations that were dispatched and touch numbers (on a GPU a kernel each, or more)."""

    saved: int
    flops: int
    launches: int


class Counter:
    """Counts the second step of a training: told of its steps as a watch is (see bench/peers/way.py).

    It begins when the first step is done and ends when the backward of the second is.
    """

    def __init__(self, weights: Callable[[], Iterable[Tensor]]) -> None:
        self._weights = weights
        self._stack = ExitStack()
        self._counts: Counts | None = None

    def step(self) -> None:
        """A step is done."""
        if self._counts is None:
            self._begin()

    def counts(self) -> Counts:
        """What was counted; raises ValueError where no second step was done."""
        if self._counts is None:
            raise ValueError("Nothing was counted: a way needs two steps, each with one backward.")
        return self._counts

    def _begin(self) -> None:
        enter = self._stack.enter_context
        launches = enter(Launches())
        flops = enter(FlopCounterMode(display=False, custom_mapping=MORE))
        kept = _Kept(self._weights())
        hooks = torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor)
        hooks.__enter__()
        backward = Tensor.backward

        def counted(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            hooks.__exit__()  # what a recomputation keeps is not kept from forward to backward
            Tensor.backward = backward
            saved = kept.bytes()
            backward(loss, *args, **kwargs)
            self._stack.close()
            self._counts = Counts(saved, flops.get_total_flops(), launches.count)

        Tensor.backward = counted  # pyright: ignore[reportAttributeAccessIssue]  (it takes all arguments)


class WholeStep:
    """Counts the launches between the ends of two steps of a training, whatever they are for.

    It is told of the steps as a watch is, and the run needs a third: what ends a run is no step's.
    """

    def __init__(self) -> None:
        self._launches = Launches()
        self._steps = 0

    def step(self) -> None:
        """A step is done."""
        self._steps += 1
        if self._steps == 1:
            self._launches.__enter__()
        elif self._steps == 2:
            self._launches.__exit__(None, None, None)

    @property
    def launches(self) -> int:
        return self._launches.count


class Launches(TorchDispatchMode):
    """Counts dispatched operations, without those that only look at tensors; and the numbers that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.reads = 0
        """Each is a wait on a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.count += not (func.is_view or name in FREE)
        self.reads += name == "_local_scalar_dense"
        return func(*args, **(kwargs or {}))


class _Kept:
    """What autograd keeps, storage by storage."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._known = {weight.untyped_storage()._cdata for weight in weights}
        self._kept: dict[int, Any] = {}  # the storages themselves, so that no address is used twice

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._kept[storage._cdata] = storage
        return tensor

    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self._kept.values())


def count(loss: Callable[[], Tensor], weights: Iterable[Tensor]) -> Counts:
    """Counts of one forward, as ``loss`` does it, and its backward."""
    counter = Counter(lambda: weights)
    counter.step()
    loss().backward()
    return counter.counts()


def kept_bytes(forward: Callable[[], Tensor], weights: Iterable[Tensor]) -> tuple[Tensor, int]:
    """What the forward gives, and the bytes that autograd keeps of it, weights left out."""
    kept = _Kept(weights)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        value = forward()
    return value, kept.bytes()
