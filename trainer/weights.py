"""How the trainer reaches frozen weights that somebody else owns, moves and may evict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

WeightPair = tuple[Tensor, Tensor | None]


class Weights(Protocol):
    """The owner's side of frozen weights (design decision 2).

    Nothing handed out may be written to, and nothing borrowed may be kept past its context: at
    backward time the memory may hold something else.
    """

    def hold(self, modules: Iterable[nn.Module]) -> AbstractContextManager[int]:
        """Pin down what is resident of `modules`, so that borrowing it costs nothing.

        Yields how many could be held. Their tensors keep their addresses until the context ends
        or the owner moves them, whichever comes first.
        """
        ...

    def borrow(
        self, module: nn.Module, dtype: torch.dtype, device: torch.device
    ) -> AbstractContextManager[WeightPair]:
        """The effective weight and bias of `module` in `dtype` on `device`, for this context."""
        ...

    def prefetch(self, module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        """Begin to bring what the next `borrow` will ask for; at most one module lies ready."""
        ...


class Lookahead:
    """Weights that fetch the next layer while this one computes.

    The order is learned from the run itself: which module followed which pair of modules. A pair,
    because forward and backward pass the same layers in opposite directions.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._follows: dict[tuple[nn.Module | None, nn.Module | None], nn.Module] = {}
        self._last: tuple[nn.Module | None, nn.Module | None] = (None, None)

    def hold(self, modules: Iterable[nn.Module]) -> AbstractContextManager[int]:
        return self._weights.hold(modules)

    @contextmanager
    def borrow(
        self, module: nn.Module, dtype: torch.dtype, device: torch.device
    ) -> Iterator[WeightPair]:
        self._follows[self._last] = module
        self._last = (self._last[1], module)
        with self._weights.borrow(module, dtype, device) as pair:
            following = self._follows.get(self._last)
            if following is not None:
                self._weights.prefetch(following, dtype, device)
            yield pair

    def prefetch(self, module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self._weights.prefetch(module, dtype, device)
