"""Replays recorded runs of kohya's `sdxl_train.py`, full fine-tuning, on ComfyUI's own classes.

Needs ComfyUI on `sys.path`. Layout: full/full.json with the command of each run; of all its weights, in the
order of their names, a file has every so-many-th number. Of the runs of the UNet alone it is
weights.safetensors, and inputs and draws are those of ``train``. Those with text encoders have
text.safetensors, with latents and draws; their encoders are those of ``embedding``, of which only the layers
that are trained here had gradients. The UNet is that of ``train``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..trainer.batches.training_data import Batch
from ..trainer.config.embedding import KEYS
from ..trainer.config.lora import LoraConfig
from ..trainer.config.train import TrainConfig
from ..trainer.layers.attach import Attachment, leaf_plan
from ..trainer.layers.text_plan import text_plan
from ..trainer.network.full_targets import text_layers
from ..trainer.network.network import Network
from ..trainer.network.text_targets import PREFIXES, run_targets
from ..trainer.network.unet_targets import PREFIX
from ..trainer.optim.lr_schedule import learning_rate
from ..trainer.optim.optimiser import Optimiser
from ..trainer.training.live_encoding import with_texts
from ..trainer.training.step import Draws, Model, sample_losses
from .case import Case, Unsupported, largest
from .embedding import load_clip, recorded_texts, texts_of
from .kohya_arguments import from_words, import_part
from .losses import schedule_of
from .train import DELTA_BOUND, LOSS_BOUND, WEIGHT_BOUND, load_unet, recorded_batch

DRAWS = "steps_l2"
SWITCHES = "--fused_backward_pass", "--train_text_encoder"

Replayed = Iterator[Case | Unsupported]
Drawn = Callable[[int], tuple[Batch, Draws]]
"""The batch of a step, and what was drawn for it."""


class Trained(NamedTuple):
    """What a replay trained: the loss of each batch, the norm of each step's gradients, and the changes of
    all weights of UNet, CLIP-L and CLIP-G, each as one vector in the order of their names."""

    losses: list[float]
    norms: list[float]
    changes: list[Tensor]


def cases(folder: Path) -> Replayed:
    """For each recorded run its losses, the norm of its gradients, the change of its weights, the weights."""
    about = json.loads((folder / "full" / "full.json").read_text("utf-8"))
    config = json.loads((folder / "train" / "train.json").read_text("utf-8"))["comfy_unet_config"]
    unet = load_unet(folder / "train", config)
    yield from _unet_cases(folder, unet, about)
    yield from _text_cases(folder, unet, about)


def _unet_cases(folder: Path, unet: nn.Module, about: Mapping[str, Any]) -> Replayed:
    weights = load_file(folder / "full" / "weights.safetensors")
    inputs, draws = (load_file(folder / "train" / f"{n}.safetensors") for n in ("inputs", DRAWS))
    for tag, run in about["runs"].items():
        config, schedule = _config(run["command"], tag)
        model = _model(unet, schedule)
        trained = _train(unet, model, config, run, lambda i: recorded_batch(inputs, draws, i))
        yield from _compared(tag, run, trained)
        ends = (weights["before"], weights[tag], trained.changes[0][:: about["stride"]])
        yield from _weights_compared(tag, [ends])


def _text_cases(folder: Path, unet: nn.Module, about: Mapping[str, Any]) -> Replayed:
    # The host's classes are imported here: ComfyUI is found at run time.
    from ..nodes.host.model import clip_training
    from ..nodes.host.model.autograd_session import training_session

    tensors = load_file(folder / "full" / "text.safetensors")
    before = [load_file(folder / "full" / "weights.safetensors")["before"]]
    before += [tensors[f"before.{key}"] for key in KEYS]
    strides = (about["stride"], about["text_stride"], about["text_stride"])
    where = folder / "embedding"
    clip = load_clip(where, json.loads((where / "embedding.json").read_text("utf-8")))
    encoders = clip_training.encoders(clip)
    for tag, run in about["text_runs"].items():
        config, schedule = _config(run["command"], tag)
        encode = clip_training.live_encode(clip, texts_of(from_words(run["command"])))
        model = dataclasses.replace(_model(unet, schedule), encode=encode)
        with training_session():
            drawn = partial(recorded_texts, run, tensors, f"{tag}.")
            trained = _train(unet, model, config, run, drawn, encoders)
        yield from _compared(tag, run, trained)
        after = [tensors[f"{tag}.{name}"] for name in ("unet", *KEYS)]
        ours = [c[::stride] for c, stride in zip(trained.changes, strides, strict=True)]
        yield from _weights_compared(tag, zip(before, after, ours, strict=True))


def _compared(tag: str, run: Mapping[str, Any], trained: Trained) -> Iterator[Case]:
    worst = largest(abs(a - b) for a, b in zip(trained.losses, run["loss"], strict=True))
    yield Case(f"full/{tag} loss", worst, LOSS_BOUND)
    recorded = [norm for norm in run["grad_norm_before_clip"] if norm is not None]
    if recorded:  # none with the fused backward
        norms = zip(trained.norms, recorded, strict=True)
        yield Case(f"full/{tag} norm", largest(abs(a / b - 1) for a, b in norms), LOSS_BOUND)


def _weights_compared(tag: str, ends: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Iterator[Case]:
    """ends: of each model the recorded weights before and after, and our change."""
    wrong, furthest = [], []
    for before, after, ours in ends:
        theirs = after - before
        error = float((ours - theirs).norm())
        wrong.append(error / float(theirs.norm()) if theirs.any() else error)
        furthest.append(float((before + ours - after).abs().max()))
    yield Case(f"full/{tag} delta", largest(wrong), DELTA_BOUND)
    yield Case(f"full/{tag} weights", largest(furthest), WEIGHT_BOUND)


def _config(words: list[str], tag: str) -> tuple[TrainConfig, Any]:
    """Settings and noise schedule of a command line; what sdxl_train.py alone has becomes ours here."""
    given = from_words([word for word in words if word not in SWITCHES])
    fused, with_texts = (switch in words for switch in SWITCHES)
    blocks, rate = given.pop("block_lr", ""), given["learning_rate"]
    rates = tuple(float(block) / rate for block in blocks.split(",")) if blocks else ()
    if with_texts:
        given["text_encoder_lr"] = [float(given.pop(f"learning_rate_te{n}")) for n in (1, 2)]
        given["network_train_unet_only"] = False
    imported = import_part(given, tag)
    lora = LoraConfig(algorithm="full", block_rates=rates, fused_backward=fused)
    return dataclasses.replace(imported.train, lora=lora), schedule_of(imported)


def _model(unet: nn.Module, schedule: Any) -> Model:
    from ..nodes.host.model.unet import predict

    return Model(lambda *x: predict(unet, *x), schedule, torch.device("cpu"), torch.float32)


def _train(
    unet: nn.Module,
    model: Model,
    config: TrainConfig,
    run: Mapping[str, Any],
    drawn: Drawn,
    encoders: Sequence[nn.Module] = (),
) -> Trained:
    from ..nodes.host.model.weights import ComfyWeights

    network, weights = Network(run_targets(unet, encoders, config)), ComfyWeights()
    at_once = config.lora.fused_backward
    optimiser = Optimiser(network.groups(config.lora), config.optimiser, at_once=at_once)
    done, losses, norms = 0, [], []
    plan = leaf_plan(unet, network, weights)
    for encoder in encoders:
        plan += text_plan(encoder, network, weights)
    with Attachment(plan):
        for index, after in enumerate(run["optimizer_step_after"]):
            batch, draws = drawn(index)
            # sdxl_train.py leaves the images' loss weights aside.
            batch = dataclasses.replace(batch, weights=torch.ones_like(batch.weights))
            optimiser.begin(learning_rate(config.optimiser, done, config.steps), done)
            batch = with_texts(model, batch, network)
            loss = sample_losses(model, batch, draws, config.loss).mean()
            optimiser.backward(loss / config.accumulation)
            losses.append(float(loss.detach()))
            if after > done:
                outcome = optimiser.step(learning_rate(config.optimiser, done, config.steps))
                norms.append(outcome.grad_norm)
                done = after
    models = zip((PREFIX, *PREFIXES), (unet, *encoders), strict=False)
    return Trained(losses, norms, [_changes(network, *model) for model in models])


def _changes(network: Network, prefix: str, model: nn.Module) -> Tensor:
    """Of a text encoder those of the layers that full fine-tuning trains."""
    trained = {path for path, _ in text_layers(model, LoraConfig(algorithm="full"))}
    changes = {
        name: torch.zeros_like(value)
        for name, value in model.state_dict().items()
        if prefix == PREFIX or name.rpartition(".")[0] in trained
    }
    for target in network.targets:
        if target.key.startswith(prefix):
            for name, part in network.adapters[target.key].factors().items():
                changes[f"{target.path}.{'weight' if name == 'diff' else 'bias'}"] = part.detach()
    return torch.cat([changes[name].flatten() for name in sorted(changes)])
