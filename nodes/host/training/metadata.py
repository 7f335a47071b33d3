"""What a finished training says of itself in its file."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from ....trainer.batches.plan import batches_per_epoch, epoch_of
from ....trainer.files.index import FileFacts, FileIndex, FileStamp
from ....trainer.lora_files.metadata import ModelFile, RunFacts, describe
from ....trainer.lora_files.model_hashes import sha256, short_hash
from ..folders import cache_root
from ..model import unet
from ..model.host_types import Patcher
from .request import Request

_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16"}
_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".sft")


def metadata(request: Request, steps: int, started: float, run: Path) -> dict[str, str]:
    """kohya's metadata of ``steps`` of a training that began at ``started`` (unix seconds); it is now.

    ``run``: the run's folder, named by its identity.
    """
    cached, config, patcher = request.cached, request.config, request.patcher
    schedule = unet.schedule(patcher, config.loss)
    facts = RunFacts(
        steps=steps,
        epochs=epoch_of(cached, config, steps)[0],
        batches_per_epoch=batches_per_epoch(cached, config.batch_size),
        started=started,
        finished=time.time(),
        prediction=schedule.prediction,
        zero_terminal_snr=schedule.zero_terminal_snr,
        trigger=cached.dataset.trigger,
        session=int(run.name[:8], 16),  # so that a resumed run stays one session
        precision=_PRECISIONS.get(unet.compute_dtype(patcher), "no"),
        fp8=patcher.model.get_dtype().itemsize == 1,
        model=_model_file(patcher),
    )
    return describe(config, cached, facts)


def _model_file(patcher: Patcher) -> ModelFile | None:
    """The file that the MODEL came from, where ComfyUI remembers its loader's arguments.

    Reading a checkpoint for its hash takes some seconds: it is done once per file.
    """
    _, arguments, *_ = getattr(patcher, "cached_patcher_init", None) or (None, ())
    names = [a for a in arguments if isinstance(a, str) and a.endswith(_SUFFIXES)]
    path = Path(names[0]) if names else None
    if path is None or not path.is_file():
        return None
    return ModelFile(path.name, _sha256(path), short_hash(path))


def _sha256(path: Path) -> str:
    stat = path.stat()
    stamp = FileStamp(stat.st_size, stat.st_mtime_ns)
    index = FileIndex(cache_root() / "sha256.json")
    facts = index.lookup(path, stamp)
    if facts is None:
        read_at = time.time_ns()
        facts = FileFacts(sha256(path), 0, 0)
        index.remember(path, stamp, facts, read_at)
        index.save()
    return facts.digest
