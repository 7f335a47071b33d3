"""What the LoRA files of a training say of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ....trainer.batches.plan import batches_per_epoch, epoch_of
from ....trainer.cache.latents import CachedDataset
from ....trainer.config.train import TrainConfig
from ....trainer.lora_files.metadata import RunFacts, describe
from ..model import unet
from ..model.checkpoint_file import model_file
from ..model.trained_model import TrainedModel

_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Metadata:
    """kohya's metadata of one training, whose files may be written while it runs."""

    model: TrainedModel
    cached: CachedDataset
    config: TrainConfig
    run: Path
    """The run's folder, named by its identity."""
    started: float
    """Unix seconds."""

    def after(self, steps: int) -> dict[str, str]:
        """What a file of so many steps says, written now."""
        cached, config, patcher = self.cached, self.config, self.model.patcher
        schedule = unet.schedule(patcher, config.loss)
        facts = RunFacts(
            steps=steps,
            epochs=epoch_of(cached, config, steps)[0],
            batches_per_epoch=batches_per_epoch(cached, config.batch_size),
            started=self.started,
            finished=time.time(),
            prediction=schedule.prediction,
            zero_terminal_snr=schedule.zero_terminal_snr,
            trigger=cached.dataset.trigger,
            session=int(self.run.name[:8], 16),  # so that a resumed run stays one session
            precision=_PRECISIONS.get(self.model.dtype, "no"),
            fp8=patcher.model.get_dtype().itemsize == 1,
            model=model_file(patcher),
        )
        return describe(config, cached, facts)
