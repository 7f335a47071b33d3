"""Replays recorded optimisers: fixed gradients on three toy tensors, learning rates and d of every step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..trainer.config.optimisers import class_name
from ..trainer.kohya.toml import KNOWN
from ..trainer.optim.optimiser import Optimiser, ParameterGroup
from .case import Case, Unsupported, largest
from .kohya_arguments import import_part

BOUND = 1e-6
RATE_BOUND = 1e-9
"""Relative to the recorded rate."""


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """For each recorded run: parameters at the end, at the averaged point if there is one, and rates."""
    recorded = json.loads((folder / "optimizers.json").read_text("utf-8"))
    tensors = load_file(folder / "optimizers.safetensors")
    for name, run in recorded["runs"].items():
        try:
            yield from _run_cases(name, run, tensors)
        except Unsupported as missing:
            yield missing


def _run_cases(name: str, run: dict[str, Any], tensors: dict[str, Tensor]) -> Iterator[Case]:
    given = {key: value for key, value in run.items() if key in KNOWN}
    config = import_part({**given, "max_grad_norm": 0.0}, name).train.optimiser
    count = sum(key.startswith("init.") for key in tensors)
    parameters = [nn.Parameter(tensors[f"init.{i}"].clone()) for i in range(count)]
    try:
        optimiser = Optimiser([ParameterGroup(parameters)], config)
    except ValueError as error:
        raise Unsupported(f"{name}: {error}") from error
    rates = []
    for step in range(len(run["lr_and_d_after_step"])):
        pairs = zip(parameters, (tensors[f"grad.{step:02}.{i}"] for i in range(count)), strict=True)
        optimiser.backward(sum(((p * g).sum() for p, g in pairs), torch.zeros(())))
        rates.append(optimiser.step(run["learning_rate"]).learning_rate)
    yield Case(f"optimizers/{name} parameters", _distance(parameters, tensors, name), BOUND)
    if f"{name}.eval.0" in tensors:
        with optimiser.averaged():
            error = _distance(parameters, tensors, f"{name}.eval")
        yield Case(f"optimizers/{name} averaged", error, BOUND)
    yield Case(f"optimizers/{name} rates", _rate_error(rates, run), RATE_BOUND)
    wrong = class_name(config.type) != run["reported_name"]
    yield Case(f"optimizers/{name} class", float(wrong), 0.0)


def _distance(parameters: list[nn.Parameter], tensors: dict[str, Tensor], name: str) -> float:
    return largest(
        (parameter.detach() - tensors[f"{name}.{i}"]).abs().max().item()
        for i, parameter in enumerate(parameters)
    )


def _rate_error(rates: list[float], run: dict[str, Any]) -> float:
    """The rate after each step, times d where one is recorded."""
    recorded = [row["lr"] * (row["d"] or 1.0) for row in run["lr_and_d_after_step"]]
    if len(rates) != len(recorded):
        return math.inf
    return largest(abs(a - b) / b for a, b in zip(rates, recorded, strict=True))
