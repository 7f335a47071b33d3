"""What the LoRA files of a training say of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ....trainer.batches.plan import batches_per_epoch, epoch_of
from ....trainer.cache.latents import CachedDataset
from ....trainer.config.train import TrainConfig
from ....trainer.files.index import FileIndex
from ....trainer.lora_files.metadata import ModelFile, RunFacts, describe
from ....trainer.lora_files.model_hashes import sha256, short_hash
from ..folders import cache_root
from ..model import unet
from ..model.host_types import Patcher
from ..model.trained_model import TrainedModel

_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16"}
_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".sft")


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
            model=_model_file(patcher),
        )
        return describe(config, cached, facts)


def _model_file(patcher: Patcher) -> ModelFile | None:
    """What identifies the file that the MODEL came from.

    Reading a checkpoint for its hash takes some seconds: it is done once per file.
    """
    path = _model_path(patcher)
    return None if path is None else ModelFile(path.name, _sha256(path), short_hash(path))


def model_name(patcher: Patcher) -> str:
    """The name of the file that the MODEL came from; "" where it is not known."""
    path = _model_path(patcher)
    return "" if path is None else path.name


def _model_path(patcher: Patcher) -> Path | None:
    """The file that the MODEL came from, where ComfyUI remembers its loader's arguments."""
    _, arguments, *_ = getattr(patcher, "cached_patcher_init", None) or (None, ())
    names = [a for a in arguments if isinstance(a, str) and a.endswith(_SUFFIXES)]
    path = Path(names[0]) if names else None
    return path if path is not None and path.is_file() else None


def _sha256(path: Path) -> str:
    index = FileIndex(cache_root() / "sha256.json")
    found = index.digest(path, sha256)
    index.save()
    return found
