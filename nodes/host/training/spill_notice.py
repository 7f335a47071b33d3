"""Notices that the driver has moved memory of the card into RAM, and says so once."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from ....trainer.config.train import TrainConfig
from ....trainer.device.spill_watch import CHANGES, SpillWatch, StepCost
from ....trainer.training.loop import StepEvent
from ..model import memory
from ..model.host_types import Patcher

log = logging.getLogger(__name__)


class Spilling:
    """A follower of the steps on a CUDA device; on others it looks at nothing.

    The time of previews, validation and captions is no part of a step's.
    """

    notice = ""
    """Stands behind the line of every step once memory has spilled, and while weights are paged out."""

    def __init__(
        self,
        device: torch.device,
        config: TrainConfig | None = None,
        paged: Sequence[Patcher] = (),
    ) -> None:
        """paged: the models whose weights ComfyUI may page in and out by itself."""
        self._watch = SpillWatch(_changes(config or TrainConfig()))
        self._device, self._paged, self._seconds = device, paged, 0.0

    def on_step(self, event: StepEvent) -> None:
        """Told after every step."""
        if self._device.type != "cuda":
            return
        took, self._seconds = event.seconds - self._seconds, event.seconds
        free, total = torch.cuda.mem_get_info(self._device)
        beyond = torch.cuda.memory_reserved(self._device) - total
        paged = memory.paged_out(self._paged)
        away = str(paged) if paged.away else ""
        cost = StepCost(took, event.pixels, free, beyond, away if paged.whole else None)
        found = self._watch.look(cost)
        if found:
            log.warning("LoRA Loop: %s", found)
        if paged.whole:
            self.notice = f" · {away} in RAM" if away else ""
        elif found:
            self.notice = " · memory has gone to RAM, see the log"


def _changes(config: TrainConfig) -> list[str]:
    """What this run could still do to need less memory."""
    open_to_it = (
        config.checkpointing != "full",
        config.lora.is_plain and not config.compact,
        config.batch_size > 1,
        not config.lora.dim_from_weights,
        True,
    )
    return [change for change, is_open in zip(CHANGES, open_to_it, strict=True) if is_open]
