"""Bytes that computing holds, followed from operation to operation; on the meta device too."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Held(NamedTuple):
    """Bytes of what a step makes, gradients of parameters left out."""

    kept: int
    """Alive between forward and backward."""
    peak: int
    """Alive at any time; 0 without a backward."""


def held(forward: Callable[[], Tensor], parameters: Iterable[Tensor] | None = None) -> Held:
    """Counts a forward, whose output is a loss; and its backward, where parameters are given."""

    for parameter in parameters or ():
        parameter.grad = torch.zeros_like(parameter)
    with Following() as following:
        loss = forward()
        gc.collect()
        kept = following.now
        if parameters is not None:
            loss.backward()
    return Held(kept, 0 if parameters is None else following.peak)


class Following(TorchDispatchMode):
    """Context manager that knows the bytes of every storage that operations make, until it is freed.

    device: only what lies there. AdamW's fused step, which the meta device does not have, makes nothing.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self._device = device
        self._alive: set[int] = set()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._fused_adamw_.default:
            return None
        output = func(*args, **(kwargs or {}))
        known: set[int] | None = None
        for tensor in tree_leaves(output):
            if not isinstance(tensor, Tensor) or self._device not in (None, tensor.device):
                continue
            storage = tensor.untyped_storage()
            address, size = storage._cdata, storage.nbytes()
            if address in self._alive:
                continue
            if known is None:
                given = tree_leaves((args, kwargs))
                known = {t.untyped_storage()._cdata for t in given if isinstance(t, Tensor)}
            if address not in known:
                self._alive.add(address)
                self.now += size
                weakref.finalize(storage, self._freed, address, size)
        self.peak = max(self.peak, self.now)
        return output

    def _freed(self, address: int, size: int) -> None:
        self._alive.discard(address)
        self.now -= size
