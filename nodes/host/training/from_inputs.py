"""What the inputs of the Train node say: settings nodes go before the widgets of its own."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from ....trainer.config.lora import LoraConfig
from ....trainer.config.optimiser import OptimiserConfig
from ....trainer.config.train import TrainConfig
from ....trainer.runs.start_from import Start
from ....trainer.runs.sweep import SweptConfig

log = logging.getLogger(__name__)

FIELDS = {
    "vae": "vae",
    "preview_settings": "previews",
    "checkpoint_settings": "checkpoints",
    "continue_stopped": "continue_stopped",
    "continue_from": "continue_from",
    "start_from": "start",
    "give_way": "give_way",
}
"""Inputs that are fields of a Request as they are, by its names."""

PARTS = {
    "lora_settings": "lora",
    "optimiser_settings": "optimiser",
    "loss_settings": "loss",
    "caption_settings": "captions",
    "validation_settings": "validation",
    "speed_settings": "speed",
    "embedding_settings": "embedding",
}
"""Inputs that are parts of the TrainConfig, by its names; all others that are left are its own fields."""

OWN: dict[str, tuple[str, type, dict[str, str]]] = {
    "lora_settings": ("LoRA Settings", LoraConfig, {"rank": "rank", "alpha": "alpha"}),
    "optimiser_settings": (
        "Optimiser Settings",
        OptimiserConfig,
        {"learning_rate": "learning_rate", "optimiser": "type"},
    ),
}
"""Widgets of Train that stand for a settings node which is not connected: its title, its config, and the
config's field of each widget."""


def given_by(inputs: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Request that the inputs stand for; those left out have its defaults.

    Raises ValueError for a learning rate on Train that the optimiser is hardly meant to have, and for
    settings that would take the place of what a sweep goes through.
    """
    fields = {field: inputs.pop(name, None) for name, field in FIELDS.items()}
    given = {field: value for field, value in fields.items() if value is not None}
    run: TrainConfig | None = inputs.pop("run_settings", None)
    for name, (title, kind, names) in OWN.items():
        own = kind(**{field: inputs.pop(widget) for widget, field in names.items()})
        if isinstance(run, SweptConfig) and inputs.get(name) is not None:
            raise ValueError(
                f"{title} on Train would take the place of what Sweep goes through: connect it to Sweep instead."
            )
        source = title if inputs.get(name) is not None else "Import kohya Config" if run else ""
        if not source:
            inputs[name] = own
            if isinstance(own, OptimiserConfig):
                own.check_rates()
        elif own != kind():
            told = " and ".join(names)
            log.warning("LoRA Loop: %s of Train do not apply, those of %s do", told, source)
    parts = {part: inputs.pop(name, None) for name, part in PARTS.items()}
    prefetch = inputs.pop("prefetch_weights", False)  # its widget is older than the speed settings
    config = (run or TrainConfig(**inputs)).having(**parts)
    speed = dataclasses.replace(config.speed, prefetch_weights=prefetch)
    given["config"] = config.having(speed=speed)
    if "start" in given:
        given["start"] = Start(given["start"])
    return given


def base_of(inputs: dict[str, Any]) -> TrainConfig:
    """The config that the inputs of a node stand for which has settings sockets as Train has, and steps.

    The other widgets count where no ``run_settings`` are connected.
    """
    steps, run = inputs.pop("steps"), inputs.pop("run_settings", None)
    parts = {part: inputs.pop(name, None) for name, part in PARTS.items()}
    config = (run or TrainConfig(**inputs)).having(**parts)
    return dataclasses.replace(config, steps=steps)
