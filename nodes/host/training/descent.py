"""What a training does when memory runs out: one rung down the ladder of memory plans."""

from __future__ import annotations

import dataclasses
import gc
import logging
from collections.abc import Callable

from ....trainer.config.train import TrainConfig
from ....trainer.memory.plan import MemoryPlan, Need, smaller_plan
from ....trainer.runs.lost_memory import note_enough
from ....trainer.runs.run_folder import RunFolder
from ..model import memory
from ..progress import NodeProgress
from .attachment import Mounting

log = logging.getLogger(__name__)


class Descent:
    """The loop's `Relief`: a step that has run out of memory is computed again under a smaller plan.

    All plans give the same numbers apart from rounding, so the run goes on as if it had been planned so
    from here on. The run's folder keeps with how much it gets by: its next training begins with such a plan.
    """

    def __init__(
        self,
        mounting: Mounting,
        config: TrainConfig,
        need: Need,
        folder: RunFolder,
        progress: NodeProgress,
    ) -> None:
        speed = dataclasses.replace(config.speed, cuda_graphs=False)  # given up on the first rung
        self._config, self._need = dataclasses.replace(config, speed=speed), need
        self._mounting, self._folder, self._progress = mounting, folder, progress

    def __call__(self, error: RuntimeError) -> Callable[[], int] | None:
        plan = self.note(error)
        if plan is None:
            return None
        said = f"memory ran out; this step is done again. New {plan.describe()}"
        log.warning("LoRA Loop: %s", said)
        self._progress.say(said)
        return lambda: self._go_on(plan)

    def note(self, error: BaseException) -> MemoryPlan | None:
        """Remember for the next training of the run where memory ran out; the plan to go on with, if so."""
        if not memory.is_out_of_memory(error):
            return None
        plan = smaller_plan(self._config, self._need, self._mounting.plan)
        if plan is not None:
            note_enough(self._folder, plan.reserve)
        return plan

    def _go_on(self, plan: MemoryPlan) -> int:
        gc.collect()  # what the error still held
        self._mounting.change(plan)
        return plan.micro_batch
