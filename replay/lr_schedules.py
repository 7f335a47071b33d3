"""Replays recorded learning-rate schedules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from ..trainer.config.optimiser import LrSchedule, OptimiserConfig
from ..trainer.config.optimisers import parse_arguments
from ..trainer.optim.lr_schedule import learning_rate, span
from .case import Case, Unsupported, largest

BOUND = 1e-9
"""Relative to the base learning rate."""


def length(text: str) -> float:
    """kohya's "5", "0.1" or "10%"."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


FLAGS = {
    "--lr_scheduler_num_cycles": ("cycles", int),
    "--lr_scheduler_power": ("power", float),
    "--lr_scheduler_min_lr_ratio": ("min_lr_ratio", float),
    "--lr_decay_steps": ("decay_steps", length),
    "--lr_scheduler_timescale": ("timescale", int),
}
ARGUMENTS = "--lr_scheduler_args"
_ARGUMENTS = {
    "step_rules": "step_rules",
    "lr_end": "end_rate",
    "warmup_type": "warmup_shape",
    "decay_type": "decay_shape",
}
"""Of these, which are key=literal."""


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """One case per recorded schedule. `constant` with warm-up, which kohya refuses, is accepted."""
    recorded = json.loads((folder / "lr_schedules.json").read_text("utf-8"))
    for case in recorded["cases"]:
        if "error" in case:
            continue
        try:
            yield _case(case)
        except Unsupported as missing:
            yield missing


def _case(case: dict[str, Any]) -> Case:
    name = f"lr_schedules/{case['scheduler']} warmup {case['lr_warmup_steps']}"
    schedule = case["scheduler"].replace("constant_with_warmup", "constant")
    if schedule not in get_args(LrSchedule):
        raise Unsupported(f"lr_schedules: {case['scheduler']}")
    settings = schedule_settings(case["extra_args"])
    warmup, steps = length(case["lr_warmup_steps"]), case["max_train_steps"]
    config = OptimiserConfig(
        learning_rate=case["base_lr"], schedule=schedule, warmup=warmup, **settings
    )
    errors = [
        abs(learning_rate(config, step, steps) - rate)
        for step, rate in enumerate(case["lr_before_step"])
    ]
    errors.append(abs(span(warmup, steps) - case["resolved_warmup"]))
    return Case(name, largest(errors) / case["base_lr"], BOUND)


def schedule_settings(flags: list[str]) -> dict[str, Any]:
    """Our settings for kohya's flags of the schedule, each with one value, ARGUMENTS with several."""
    settings: dict[str, Any] = {}
    flag = ""
    for word in flags:
        if word.startswith("--"):
            flag = word
        elif flag in FLAGS:
            field, kind = FLAGS[flag]
            settings[field] = kind(word)
        elif flag == ARGUMENTS and word.split("=")[0] in _ARGUMENTS:
            ((name, value),) = parse_arguments([word]).items()
            settings[_ARGUMENTS[name]] = value
        else:
            raise Unsupported(f"lr_schedules: {flag}")
    return settings
