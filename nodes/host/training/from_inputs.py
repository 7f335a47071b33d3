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

    Raises ValueError for a learning rate on Train that the optimiser is hardly meant to have, for settings
    that would take the place of what a sweep goes through, and for full tuning beside an embedding alone.
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
    if not config.trains_lora:
        _tell_unused(config, parts["optimiser"] or (run or config).optimiser)
    speed = dataclasses.replace(config.speed, prefetch_weights=prefetch)
    given["config"] = config.having(speed=speed)
    if "start" in given:
        given["start"] = Start(given["start"])
    return given


def _tell_unused(config: TrainConfig, optimiser: OptimiserConfig) -> None:
    """What an embedding that is trained alone leaves without effect, in the log; ValueError for full tuning.

    optimiser: as it was given, before the embedding's rate took the place of its own.
    """
    if config.lora.algorithm == "full":
        raise ValueError(
            "Full Tuning Settings train the model, and Embedding Settings an embedding alone: disconnect one of "
            "them."
        )
    rates = OptimiserConfig.learning_rate, config.embedding.learning_rate
    unused = {
        "what LoRA Settings or rank and alpha say": config.lora != LoraConfig(),
        "the learning rate of the optimiser": optimiser.learning_rate not in rates,
        "the learning rates of the text encoders": optimiser.trains_text,
    }
    found = [name for name, is_set in unused.items() if is_set]
    if found:
        log.warning(
            "LoRA Loop: Embedding Settings train an embedding alone, without effect: %s. Set trains to embedding and "
            "LoRA there to train a LoRA with it.",
            ", ".join(found),
        )


def base_of(inputs: dict[str, Any]) -> TrainConfig:
    """The config that the inputs of a node stand for which has settings sockets as Train has, and steps.

    The other widgets count where no ``run_settings`` are connected.
    """
    steps, run = inputs.pop("steps"), inputs.pop("run_settings", None)
    parts = {part: inputs.pop(name, None) for name, part in PARTS.items()}
    config = (run or TrainConfig(**inputs)).having(**parts)
    return dataclasses.replace(config, steps=steps)
