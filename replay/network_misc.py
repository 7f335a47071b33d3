"""Replays what kohya made of network arguments: parameter groups, block ranks, limited norms.

Needs ComfyUI on `sys.path`, for the UNet that `train` was recorded with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from ..trainer.kohya.config import KohyaConfig
from ..trainer.network.network import Network
from ..trainer.network.unet_targets import find_targets
from .case import Case, Unsupported, largest
from .kohya_arguments import import_part, network_arguments
from .train import load_unet

RATE_BOUND = 1e-9
"""Relative to the recorded learning rate."""
NORM_BOUND = 1e-6


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """Cases for each recorded set of arguments, then for the limited norms."""
    about = json.loads((folder / "train" / "train.json").read_text("utf-8"))
    unet, network = load_unet(folder / "train", about["comfy_unet_config"]), about["network"]
    for name, recorded in json.loads((folder / "network_misc.json").read_text("utf-8")).items():
        if "args" not in recorded:
            yield from _norm_cases(name, recorded, folder, unet, network)
            continue
        try:
            config = _config({**network, "network_args": recorded["args"]}, name, recorded)
        except Unsupported as missing:
            yield missing
        else:
            made = Network(find_targets(unet, config.train.lora))
            yield from _argument_cases(name, recorded, made, config)


def _config(about: Mapping[str, Any], name: str, recorded: Mapping[str, Any]) -> KohyaConfig:
    """The settings of a recorded network. Raises Unsupported when the importer refuses them."""
    more = {"unet_lr": recorded.get("unet_lr"), "scale_weight_norms": recorded.get("max_norm")}
    return import_part({**network_arguments(about), **more}, f"network_misc/{name}")


def _argument_cases(
    name: str, recorded: Mapping[str, Any], network: Network, config: KohyaConfig
) -> Iterator[Case]:
    where, lora = f"network_misc/{name}", config.train.lora
    if "groups" in recorded:
        groups = network.groups(lora)
        ours = [
            (len(group.parameters), config.train.optimiser.learning_rate * group.factor)
            for group in groups
        ]
        theirs = [(group["n_tensors"], group["lr"]) for group in recorded["groups"]]
        sizes_differ = [size for size, _ in ours] != [size for size, _ in theirs]
        yield Case(f"{where} groups", float(sizes_differ), 0.0)
        rates = zip(ours, theirs, strict=False)
        yield Case(
            f"{where} rates", largest(abs(a / b - 1) for (_, a), (_, b) in rates), RATE_BOUND
        )
    if "block_lr_weight" in recorded:
        pairs = zip(lora.block_rates, recorded["block_lr_weight"], strict=True)
        yield Case(f"{where} weights", largest(abs(a - b) for a, b in pairs), RATE_BOUND)
    if "modules" in recorded:
        modules = {target.key: [target.rank, target.alpha] for target in network.targets}
        is_count = isinstance(recorded["modules"], int)
        ours = len(modules) if is_count else modules
        yield Case(f"{where} modules", float(ours != recorded["modules"]), 0.0)


def _norm_cases(
    name: str, recorded: Mapping[str, Any], folder: Path, unet: nn.Module, about: Mapping[str, Any]
) -> Iterator[Case]:
    lora = _config(about, name, recorded).train.lora
    network = Network(find_targets(unet, lora))
    network.load(load_file(folder / recorded["input"]))
    most = lora.max_norm
    before = dict(zip(network.adapters, network.limit_norms(most).tolist(), strict=True))
    after = {key: min(norm, most) for key, norm in before.items()}
    factors = {
        key: tuple(adapter.get_parameter(name).norm().item() for name in ("down", "up"))
        for key, adapter in network.adapters.items()
    }
    errors = {
        "norms before": [abs(before[k] - v) for k, v in recorded["norm_before"].items()],
        "factors after": [
            abs(ours - theirs)
            for key, pair in recorded["down_up_norms_after"].items()
            for ours, theirs in zip(factors[key], pair, strict=True)
        ],
        "mean": [abs(sum(after.values()) / len(after) - recorded["mean_norm"])],
        "largest": [abs(max(after.values()) - recorded["max_norm_after"])],
        "count": [float(abs(sum(n > most for n in before.values()) - recorded["keys_scaled"]))],
    }
    for what, found in errors.items():
        bound = 0.0 if what == "count" else NORM_BOUND
        yield Case(f"network_misc/{name} {what}", largest(found), bound)
