"""Replays recorded learning-rate schedules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..trainer.optim.lr_schedule import learning_rate, span
from .case import Case, Unsupported, largest
from .kohya_arguments import from_words, import_part

BOUND = 1e-9
"""Relative to the base learning rate."""


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
    flags = ["--lr_scheduler", case["scheduler"], "--lr_warmup_steps", case["lr_warmup_steps"]]
    given = {"learning_rate": case["base_lr"], "max_train_steps": case["max_train_steps"]}
    given |= from_words([*flags, *case["extra_args"]])
    train = import_part(given, "lr_schedules").train
    config, steps = train.optimiser, train.steps
    errors = [
        abs(learning_rate(config, step, steps) - rate)
        for step, rate in enumerate(case["lr_before_step"])
    ]
    errors.append(abs(span(config.warmup, steps) - case["resolved_warmup"]))
    return Case(name, largest(errors) / case["base_lr"], BOUND)
