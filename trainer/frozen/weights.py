"""How the trainer reaches frozen weights that somebody else owns, moves and may evict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

WeightPair = tuple[Tensor, Tensor | None]
T = TypeVar("T")


class Weights(Protocol):
    """The owner's side of frozen weights (docs/design.md, "Weights belong to the host").

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


class Stored(NamedTuple):
    """What the weight and bias of a layer lie in, wherever that is, and how they are made of it.

    ``restore`` takes these tensors, or copies of them on another device, and the dtype to compute in.
    """

    tensors: tuple[Tensor, ...]
    restore: Callable[[Sequence[Tensor], torch.dtype], WeightPair]


def as_they_are(tensors: Sequence[Tensor], dtype: torch.dtype) -> WeightPair:
    """``Stored.restore`` of a weight and, if there is one, a bias."""
    weight, *bias = (tensor.to(dtype) for tensor in tensors)
    return weight, bias[0] if bias else None


class Storage(Weights, Protocol):
    """Weights that also tell what they lie in, for those who bring them to the device themselves."""

    def stored(self, module: nn.Module) -> Stored | None:
        """As it is now; None where only `borrow` knows what the layer computes with."""
        ...


class Order(Generic[T]):
    """What follows what, learned from the run itself: one item followed a pair of items.

    A pair, because forward and backward pass the same layers in opposite directions.
    """

    def __init__(self) -> None:
        self._follows: dict[tuple[T | None, T | None], T] = {}
        self._last: tuple[T | None, T | None] = (None, None)

    def after(self, item: T) -> T | None:
        """Take note that ``item`` has come, and say what came after it the last time."""
        self._follows[self._last] = item
        self._last = (self._last[1], item)
        return self._follows.get(self._last)


class Lookahead:
    """Weights that fetch the next layer while this one computes."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._order = Order[nn.Module]()

    def hold(self, modules: Iterable[nn.Module]) -> AbstractContextManager[int]:
        return self._weights.hold(modules)

    @contextmanager
    def borrow(
        self, module: nn.Module, dtype: torch.dtype, device: torch.device
    ) -> Iterator[WeightPair]:
        following = self._order.after(module)
        with self._weights.borrow(module, dtype, device) as pair:
            if following is not None:
                self._weights.prefetch(following, dtype, device)
            yield pair

    def prefetch(self, module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self._weights.prefetch(module, dtype, device)
