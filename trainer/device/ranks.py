"""The processes that train one LoRA together, a card each, as torchrun starts them: ranks 0 to world - 1.

The only module that knows `torch.distributed`. There are three things that ranks do together, always all
of them and in the same order: `sum` gradients, `gather` what the books need, and have rank 0 `tell`.
Whoever ends for whatever reason, killed or by an error, ends the others: their next exchange with it
raises `RankLost`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""So long rank 0 may make caches, measure or draw while the others wait. A rank that ends is noticed at
once, since its connections are closed."""

WORLD, LOCAL = "WORLD_SIZE", "LOCAL_RANK"
_CARDS = "CUDA_VISIBLE_DEVICES"


class RankLost(ConnectionError):
    """Another rank has ended, or cannot be reached."""


class Ranks:
    """This process among those that train together; by itself it is all of them, and nothing is exchanged."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which alone writes, measures and draws."""
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        return self.world > 1

    def sum(self, tensor: Tensor) -> None:
        """Make it the sum of everybody's, in place; of one shape and dtype everywhere.

        Raises:
            RankLost: another rank has ended.
        """

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank: small, and only what `pickle` takes.

        Raises:
            RankLost: another rank has ended.
        """
        return [value]

    def tell(self, value: T) -> T:
        """The value of rank 0, which may let the others wait; theirs counts for nothing.

        Raises:
            RankLost: another rank has ended.
        """
        return value


ALONE = Ranks()
"""One process, as ComfyUI is."""


class JoinedRanks(Ranks):
    """Ranks joined by `torch.distributed`: gradients on cards by NCCL where it is there, all else by gloo."""

    def __init__(self, rank: int, world: int, device: torch.device) -> None:
        super().__init__(rank, world)
        self._cards = dist.new_group(backend="nccl") if _has_nccl(device) else None

    def sum(self, tensor: Tensor) -> None:
        if self._cards is not None:
            self._exchange(dist.all_reduce, tensor, group=self._cards)
        elif tensor.device.type == "cpu":
            self._exchange(dist.all_reduce, tensor)
        else:
            here = tensor.cpu()
            self._exchange(dist.all_reduce, here)
            tensor.copy_(here)

    def gather(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.world
        self._exchange(dist.all_gather_object, found, value)
        return found

    def tell(self, value: T) -> T:
        told = [value if self.leads else None]
        self._exchange(dist.broadcast_object_list, told, src=0)
        found: Any = told[0]
        return found

    def _exchange(self, how: Callable[..., Any], *arguments: Any, **more: Any) -> None:
        try:
            with torch.inference_mode(False):  # tensors that are told may be trained
                how(*arguments, **more)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise RankLost(
                f"rank {self.rank} of {self.world}: another process of this training has ended, or "
                f"cannot be reached. What it said last says why ({reason})."
            ) from error


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Meet those that torchrun has started with this process; `ALONE` where there is nobody else.

    ``device``: where this process trains.

    Raises:
        RankLost: the others cannot be reached.
        ValueError: there are more processes on a machine than cards.
    """
    world = int(os.environ.get(WORLD, "1"))
    if world < 2:
        yield ALONE
        return
    try:
        dist.init_process_group("gloo", timeout=PATIENCE)
    except RuntimeError as error:
        raise RankLost(f"The {world} processes do not find each other: {error}") from error
    ranks = JoinedRanks(dist.get_rank(), world, device)
    kinds = ranks.gather(device.type)
    if len(set(kinds)) > 1:
        raise ValueError(
            f"Of the {world} processes {kinds.count('cpu')} found no card. Start as many on each "
            "machine as it has cards: --nproc-per-node."
        )
    yield ranks
    dist.destroy_process_group()  # not after an error: it would wait for what never comes


def take_card(environment: MutableMapping[str, str]) -> None:
    """Leave this process the one card that is its own on this machine; to be called before CUDA is used.

    A process for which there is none sees no card.
    """
    if int(environment.get(WORLD, "1")) < 2:
        return
    place = int(environment.get(LOCAL, "0"))
    if _CARDS not in environment:
        environment[_CARDS] = str(place)
        return
    cards = [card for card in environment[_CARDS].split(",") if card]
    environment[_CARDS] = cards[place] if place < len(cards) else ""


def _has_nccl(device: torch.device) -> bool:
    return device.type == "cuda" and dist.is_nccl_available()
