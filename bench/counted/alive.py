"""Bytes that computing holds, followed from operation to operation; on the meta device too."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
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
    with _Following(peak=parameters is not None) as following:
        loss = forward()
        kept = following.now()
        if parameters is not None:
            loss.backward()
    return Held(kept, following.peak)


class _Following(TorchDispatchMode):
    """Knows every storage that operations have made and that still lives. peak: follow it, which takes long."""

    def __init__(self, *, peak: bool) -> None:
        super().__init__()
        self._wants_peak = peak
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self._at_most = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        known = {t.untyped_storage()._cdata for t in tree_leaves(args) if isinstance(t, Tensor)}
        for tensor in tree_leaves(output):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            address = storage._cdata
            if address in known:
                continue
            before = self._alive.get(address)
            if before is None or before[0].expired():
                self._alive[address] = StorageWeakRef(storage), storage.nbytes()
                self._at_most += storage.nbytes()
        if self._wants_peak and self._at_most > self.peak:
            self._sweep()
            self.peak = max(self.peak, self._at_most)
        return output

    def now(self) -> int:
        """Bytes that are alive now."""
        gc.collect()
        self._sweep()
        return self._at_most

    def _sweep(self) -> None:
        self._alive = {key: pair for key, pair in self._alive.items() if not pair[0].expired()}
        self._at_most = sum(size for _, size in self._alive.values())
