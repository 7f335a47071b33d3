"""Sweep and its report, as the nodes give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ....trainer.config.lora import LoraConfig
from ....trainer.config.optimiser import OptimiserConfig
from ....trainer.config.train import TrainConfig
from ....trainer.curves.overlay import draw_lines
from ....trainer.lora_files.file import LoraModel
from ....trainer.runs.sweep import SweptConfig, differences, swept
from ....trainer.runs.trained_lora import TrainedLora
from ....trainer.validation.sweep_report import best_run, check_same_start, lines_of, report, trials


class Numbers(NamedTuple):
    """What a sweep goes through, as texts."""

    learning_rates: str = ""
    ranks: str = ""
    seeds: str = ""


class Swept(NamedTuple):
    """The runs of a sweep, what each is called, and how many there are in words."""

    configs: list[SweptConfig]
    labels: list[str]
    told: str


def sweep(
    numbers: Numbers,
    base: TrainConfig,
    lora: LoraConfig | None = None,
    optimiser: OptimiserConfig | None = None,
) -> Swept:
    """The configs that Train is to be called with, ``base`` with these settings in it.

    Raises ValueError as `swept` does.
    """
    configs = swept(base.having(lora=lora, optimiser=optimiser), *numbers)
    named = zip(differences(configs), configs, strict=True)
    labels = [f"{name}, seed {config.seed}" for name, config in named]
    lines = "\n".join(labels)
    return Swept([*configs], labels, f"{len(configs)} runs, one after another:\n{lines}")


class Reported(NamedTuple):
    """What the report of a sweep gives. curves: HWC uint8 RGB."""

    text: str
    curves: np.ndarray
    best: LoraModel


def sweep_report(loras: Sequence[Mapping[str, Tensor]]) -> Reported:
    """The table of the runs that these LoRAs come from, their curves, and the best of them.

    Raises ValueError for a LoRA that does not come from Train, or losses that cannot be compared.
    """
    given = {id(lora): lora for lora in loras}  # one that came twice counts once
    runs = [lora for lora in given.values() if isinstance(lora, TrainedLora)]
    if len(runs) < len(given):
        raise ValueError(
            f"Sweep Report: {len(given) - len(runs)} of {len(given)} LoRAs do not come from Train: what was "
            "trained with which settings is known of those alone. Connect lora of Train."
        )
    check_same_start([run.result.at_start for run in runs])
    found = trials([(run.config, run.result.losses, run.result.validations) for run in runs])
    lines, title = lines_of(found)
    place = best_run(found)
    result = runs[place].result
    best = runs[place] if result.best is None else result.best
    kept = "its last step (keep_best was off)" if result.best is None else "its best step"
    trial = found[place]
    told = f"The best LoRA given out: {trial.setting}, seed {trial.seed}, after {kept}."
    return Reported(f"{report(found)}\n{told}", draw_lines(lines, title), best)
