"""RAM that the card reads by itself, as far as ComfyUI allows it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management as mm
import torch
from comfy.cli_args import args
from torch import Tensor

from ....trainer.frozen.streaming import Pin

log = logging.getLogger(__name__)


def may_pin() -> bool:
    """Whether ComfyUI pins memory at all: not with --disable-pinned-memory."""
    return not getattr(args, "disable_pinned_memory", False) and _limit() > 0


def _limit() -> float:
    """How many bytes ComfyUI pins at most; some of its versions up to 0.3.x set no limit."""
    return getattr(mm, "MAX_PINNED_MEMORY", math.inf)


@contextmanager
def pinned(device: torch.device) -> Iterator[Pin]:
    """A function that pins tensors for streaming to ``device`` for as long as this is open."""
    if device.type != "cuda" or not may_pin():
        yield lambda tensor: tensor
        return
    pins = _Pins()
    try:
        yield pins.pin
    finally:
        pins.release()


class _Pins:
    """Pins in place by ComfyUI's own books; where these cannot, copies within its limit and half of the free RAM."""

    def __init__(self) -> None:
        self._own: list[Tensor] = []
        free = mm.get_free_memory(torch.device("cpu")) // 2
        self._room = min(free, _limit() - getattr(mm, "TOTAL_PINNED_MEMORY", 0))
        self._told: set[str] = set()

    def pin(self, tensor: Tensor) -> Tensor:
        if tensor.device.type != "cpu" or tensor.is_pinned():
            return tensor
        if hasattr(mm, "pin_memory") and mm.pin_memory(tensor):
            self._own.append(tensor)
            return tensor
        if tensor.nbytes <= self._room:
            self._tell(
                "ComfyUI cannot pin some weights where they are in RAM, so copies of them are pinned, "
                "as far as its limit and half of the free RAM go."
            )
            self._room -= tensor.nbytes
            try:
                return tensor.detach().pin_memory()
            except RuntimeError:  # the system pins no more
                self._room = 0
        self._tell("some weights are not pinned in RAM and come more slowly.")
        return tensor

    def release(self) -> None:
        while self._own:
            mm.unpin_memory(self._own.pop())

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            log.warning("LoRA Loop: stream_weights: %s", message)
