"""Replays recorded runs of kohya's `sdxl_train.py`, full fine-tuning, on ComfyUI's own UNet class.

Needs ComfyUI on `sys.path`. Layout: full/full.json with the command of each run; of all its weights, in the
order of their names, weights.safetensors has every so-many-th number. Base model, inputs and draws are those
of ``train``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..trainer.config.lora import LoraConfig
from ..trainer.config.train import TrainConfig
from ..trainer.layers.attach import Attachment, leaf_plan
from ..trainer.network.network import Network
from ..trainer.network.unet_targets import find_targets
from ..trainer.optim.lr_schedule import learning_rate
from ..trainer.optim.optimiser import Optimiser
from ..trainer.training.step import Model, sample_losses
from .case import Case, Unsupported, largest
from .kohya_arguments import from_words, import_part
from .losses import schedule_of
from .train import DELTA_BOUND, LOSS_BOUND, WEIGHT_BOUND, load_unet, recorded_batch

DRAWS = "steps_l2"


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """Three cases per recorded run: its losses, the change of its weights, the weights."""
    # The host's classes are imported here: ComfyUI is found at run time.
    from ..nodes.host.model.unet import predict

    about = json.loads((folder / "full" / "full.json").read_text("utf-8"))
    weights = load_file(folder / "full" / "weights.safetensors")
    config = json.loads((folder / "train" / "train.json").read_text("utf-8"))["comfy_unet_config"]
    unet = load_unet(folder / "train", config)
    tensors = [load_file(folder / "train" / f"{name}.safetensors") for name in ("inputs", DRAWS)]
    for tag, run in about["runs"].items():
        config, schedule = _config(run["command"], tag)
        model = Model(lambda *x: predict(unet, *x), schedule, torch.device("cpu"), torch.float32)
        losses, changes = _train(unet, model, config, run, tensors)
        worst = largest(abs(a - b) for a, b in zip(losses, run["loss"], strict=True))
        yield Case(f"full/{tag} loss", worst, LOSS_BOUND)
        ours, theirs = changes[:: about["stride"]], weights[tag] - weights["before"]
        wrong = (ours - theirs).norm() / theirs.norm()
        yield Case(f"full/{tag} delta", float(wrong), DELTA_BOUND)
        furthest = (weights["before"] + ours - weights[tag]).abs().max()
        yield Case(f"full/{tag} weights", float(furthest), WEIGHT_BOUND)


def _config(words: list[str], tag: str) -> tuple[TrainConfig, Any]:
    """Settings and noise schedule of a command line; what sdxl_train.py alone has becomes ours here."""
    fused = "--fused_backward_pass" in words
    given = from_words([word for word in words if word != "--fused_backward_pass"])
    blocks, rate = given.pop("block_lr", ""), given["learning_rate"]
    rates = tuple(float(block) / rate for block in blocks.split(",")) if blocks else ()
    imported = import_part(given, tag)
    lora = LoraConfig(algorithm="full", block_rates=rates, fused_backward=fused)
    return dataclasses.replace(imported.train, lora=lora), schedule_of(imported)


def _train(
    unet: nn.Module,
    model: Model,
    config: TrainConfig,
    run: Mapping[str, Any],
    tensors: list[dict[str, Tensor]],
) -> tuple[list[float], Tensor]:
    """The loss of each batch, and the change of all weights as one vector in the order of their names."""
    from ..nodes.host.model.weights import ComfyWeights

    network, weights = Network(find_targets(unet, config.lora)), ComfyWeights()
    at_once = config.lora.fused_backward
    optimiser = Optimiser(network.groups(config.lora), config.optimiser, at_once=at_once)
    done, losses = 0, []
    with Attachment(leaf_plan(unet, network, weights)):
        for index, after in enumerate(run["optimizer_step_after"]):
            batch, draws = recorded_batch(tensors[0], tensors[1], index)
            # sdxl_train.py leaves the images' loss weights aside.
            batch = dataclasses.replace(batch, weights=torch.ones_like(batch.weights))
            optimiser.begin(learning_rate(config.optimiser, done, config.steps), done)
            loss = sample_losses(model, batch, draws, config.loss).mean()
            optimiser.backward(loss / config.accumulation)
            losses.append(float(loss.detach()))
            if after > done:
                optimiser.step(learning_rate(config.optimiser, done, config.steps))
                done = after
    changes = {name: torch.zeros_like(value) for name, value in unet.state_dict().items()}
    for target in network.targets:
        for name, part in network.adapters[target.key].factors().items():
            changes[f"{target.path}.{'weight' if name == 'diff' else 'bias'}"] = part.detach()
    return losses, torch.cat([changes[name].flatten() for name in sorted(changes)])
