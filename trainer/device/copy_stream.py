"""Copies to a device beside what it computes, and the order between the two."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor


class Copies(Protocol):
    """A queue of copies beside the queue of computations. Moments are opaque: they are made and waited for here."""

    def now(self) -> Any:
        """The moment at which the device has done all computations that were asked of it so far."""
        ...

    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]], after: Any) -> Any:
        """Begin to copy (target, source) once ``after`` has come; the moment at which it is done."""
        ...

    def wait(self, moment: Any) -> None:
        """Computations that are asked for from here on begin after ``moment``."""
        ...

    def finish(self) -> None:
        """Return when no copy is under way."""
        ...


class InOrder:
    """For devices that do everything in the order in which it is asked for."""

    def now(self) -> None:
        return None

    @torch.no_grad()
    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]], after: None) -> None:
        for target, source in pairs:
            target.copy_(source)

    def wait(self, moment: None) -> None:
        pass

    def finish(self) -> None:
        pass


class OnStream:
    """A CUDA stream of its own, ordered with the current one by events."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def now(self) -> torch.cuda.Event:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        return event

    @torch.no_grad()
    def copy(
        self, pairs: Iterable[tuple[Tensor, Tensor]], after: torch.cuda.Event
    ) -> torch.cuda.Event:
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(after)
            for target, source in pairs:
                target.copy_(source, non_blocking=True)
            return self.now()

    def wait(self, moment: torch.cuda.Event) -> None:
        torch.cuda.current_stream(self._device).wait_event(moment)

    def finish(self) -> None:
        self._stream.synchronize()


def copies_to(device: torch.device) -> Copies:
    """The copies that a device can do."""
    return OnStream(device) if device.type == "cuda" else InOrder()
