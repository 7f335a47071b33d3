"""What is seen of a training while it runs: its plan, its steps, what dynamic VRAM fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

PAGE = 32 << 20
"""Bytes of a page of comfy-aimdo."""


class Steps:
    """A follower that asks ``look`` after every step."""

    def __init__(self, look: Callable[[Any], Any]) -> None:
        self._look = look
        self.found: list[Any] = []

    def on_step(self, event: Any) -> None:
        """Told after every step."""
        self.found.append(self._look(event))

    def join(self, live: Any) -> Steps:
        """As train_lora wants it."""
        del live
        return self


@contextmanager
def noted_plans() -> Iterator[list[Any]]:
    """The MemoryPlans that are made meanwhile."""
    from ....nodes.host.training import live_training

    made, plan = [], live_training.memory_plan

    def noting(*args: Any, **kwargs: Any) -> Any:
        made.append(plan(*args, **kwargs))
        return made[-1]

    with mock.patch.object(live_training, "memory_plan", noting):
        yield made


@contextmanager
def noted_descents() -> Iterator[list[str]]:
    """What was said whenever memory ran out meanwhile; an error itself would keep its step's tensors."""
    from ....nodes.host.model.memory import is_out_of_memory
    from ....nodes.host.training.descent import Descent

    said, note = [], Descent.note

    def noting(self: Descent, error: BaseException) -> Any:
        if is_out_of_memory(error):
            said.append(str(error))
        return note(self, error)

    with mock.patch.object(Descent, "note", noting):
        yield said


class Paging:
    """Counts the bytes that comfy-aimdo has fetched from RAM; `install` once a process."""

    def __init__(self) -> None:
        self.bytes = 0
        self._asked = 0

    def install(self) -> None:
        """From now on."""
        from comfy_aimdo import model_vbar  # pyright: ignore[reportMissingImports]  (newer versions' own)

        fault, compare = model_vbar.vbar_fault, model_vbar.vbar_signature_compare

        def asked(alloc: Any) -> Any:
            self._asked = alloc[2]
            return fault(alloc)

        def compared(new: Any, old: Any) -> bool:
            resident = compare(new, old)
            if not resident:
                self.bytes += self._asked
            return resident

        model_vbar.vbar_fault, model_vbar.vbar_signature_compare = asked, compared

    def take(self) -> int:
        """Bytes since this was last asked."""
        found, self.bytes = self.bytes, 0
        return found


def resident_bytes(patcher: Any) -> int:
    """Of a MODEL's weights, what lies on the card."""
    return sum(p.numel() * p.itemsize for p in patcher.model.parameters() if p.is_cuda)
