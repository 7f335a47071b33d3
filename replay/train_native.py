"""Replays recorded runs of kohya's own LoHa, LoKr and OFT, as `replay/train.py` does those of its LoRA.

Layout: train_native/native.json and the factors before and after; base, inputs and steps are those of train.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from .case import Case, Unsupported
from .train import Recording, Replay, load_unet


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """Three cases per recorded run.

    An Unsupported naming the setting stands for a run that asks for what the trainer does not have.
    """
    # The host's classes are imported here: ComfyUI is found at run time.
    from ..nodes.host.model.unet import predict

    where, own = folder / "train", folder / "train_native"
    about = json.loads((where / "train.json").read_text("utf-8"))
    unet = load_unet(where, about["comfy_unet_config"])
    inputs = load_file(where / "inputs.safetensors")

    def run_unet(*given: Tensor) -> Tensor:
        return predict(unet, *given)

    for tag, run in json.loads((own / "native.json").read_text("utf-8"))["runs"].items():
        before, after = (own / f"{what}_{tag}.safetensors" for what in ("init", "final"))
        files = Recording(where / run["steps"], before if before.exists() else None, after)
        try:
            replay = Replay(files, run["network"], tag, run, inputs)
        except Unsupported as missing:
            yield missing
        else:
            yield from replay.cases(unet, run_unet)
