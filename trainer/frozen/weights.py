"""How the trainer reaches frozen weights that somebody else owns, moves and may evict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

WeightPair = tuple[Tensor, Tensor | None]


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
