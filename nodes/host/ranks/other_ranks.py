"""A rank other than 0: it computes its share of every step. Rank 0 writes, measures and draws."""

from __future__ import annotations

import signal

import torch

from ....trainer.batches.training_data import TrainingData
from ....trainer.device.ranks import Ranks
from ....trainer.files.store import Store
from ....trainer.runs.run_folder import Inputs, RunFolder
from ....trainer.runs.start_from import Start
from ..dataset.kohya_import import read_config
from ..model.fingerprint import fingerprint
from ..model.host_types import Clip, ModelPatcher
from ..progress import NodeProgress
from ..training.beginning import Beginning
from ..training.from_config import ConfigRun, Loaded, load
from ..training.live_training import train_live
from ..training.request import Errand, Request
from ..training.room_again import asking_for_room
from ..training.train import memory_given_back


def help_train(job: ConfigRun, ranks: Ranks) -> None:
    """Train with rank 0, which runs the same job, until it is done; nothing where it has the result.

    Raises:
        ValueError: the checkpoint, the LoRA to start from or the cache is not what rank 0 trains with.
        RankLost: another rank has ended.
    """
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # Ctrl-C is rank 0's; it saves when others are gone
    with torch.inference_mode():
        loaded = load(read_config(job.config).files, job.checkpoint, job.config.places())
        errand: Errand | None = ranks.tell(None)
        if errand is None:
            return
        check_same(loaded, errand.inputs, ranks.rank)
        run_errand(errand, loaded.model, loaded.clip, loaded.start, ranks)


def check_same(loaded: Loaded, inputs: Inputs, rank: int) -> None:
    """Raise ValueError where a rank has loaded what rank 0, whose run has these inputs, has not."""
    begun = loaded.start.digest() if loaded.start else ""
    found = {
        "model": (fingerprint(loaded.model), inputs.model),
        "LoRA to start from": (begun, inputs.origin),
    }
    for what, (ours, theirs) in found.items():
        if ours != theirs:
            raise ValueError(
                f"Rank {rank} has loaded another {what} than rank 0: the checkpoint and what the config puts "
                "on it must be the same files on all machines."
            )


def run_errand(
    errand: Errand, patcher: ModelPatcher, clip: Clip | None, start: Start | None, ranks: Ranks
) -> None:
    """Train with rank 0 by what it has told, in inference mode; raises as `help_train`."""
    config = errand.config
    model = Request(patcher, errand.dataset, config, clip, start=start).worded().model
    folder = RunFolder(errand.runs, errand.inputs)
    beginning = Beginning(folder, 0, start=start, ranks=ranks)
    progress = NodeProgress(config.steps, None)
    with memory_given_back():
        joins = [asking_for_room(model, config.speed)]
        train_live(model, _data(errand, ranks), config, beginning, progress, joins)


def _data(errand: Errand, ranks: Ranks) -> TrainingData:
    """What rank 0 has put into the cache, as this process sees it."""
    config, dataset = errand.config, errand.dataset
    store, live = Store(dataset.store_root), config.trains_text
    data = TrainingData(dataset, errand.inputs.texts, store, live_texts=live)
    data.masks = errand.masks
    missing = data.missing(config)
    if missing:
        raise ValueError(
            f"Rank {ranks.rank} does not see {len(missing)} of the images that rank 0 has put into "
            f"{dataset.store_root} (first: {missing[0]}): the output folder must lie on a drive that all "
            "machines share."
        )
    return data
