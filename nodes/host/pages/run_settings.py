"""The settings of a run as the values of Train's widgets and of its settings nodes, for another graph."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ....base.config import Config
from ....base.small_file import parse_json
from ....trainer.config.captions import CaptionConfig
from ....trainer.config.embedding import EmbeddingConfig
from ....trainer.config.lora import BY_BLOCK, LoraConfig, wanted_parts
from ....trainer.config.loss import LossConfig
from ....trainer.config.optimiser import OptimiserConfig
from ....trainer.config.slider import SliderConfig
from ....trainer.config.speed import SpeedConfig
from ....trainer.config.train import TrainConfig
from ....trainer.config.validation import ValidationConfig
from ....trainer.runs.run_list import Run
from ....trainer.sdxl.blocks import MIDDLE, SIDE
from ..training.from_inputs import OWN


class _Section(NamedTuple):
    """A part of the config: the input of Train and the node that it comes from."""

    config: type[Config]
    input: str
    node: str


SECTIONS = {
    "lora": _Section(LoraConfig, "lora_settings", "LoraLoopLoraSettings"),
    "optimiser": _Section(OptimiserConfig, "optimiser_settings", "LoraLoopOptimiserSettings"),
    "loss": _Section(LossConfig, "loss_settings", "LoraLoopLossSettings"),
    "captions": _Section(CaptionConfig, "caption_settings", "LoraLoopCaptionSettings"),
    "validation": _Section(ValidationConfig, "validation_settings", "LoraLoopValidationSettings"),
    "speed": _Section(SpeedConfig, "speed_settings", "LoraLoopSpeedSettings"),
    "embedding": _Section(EmbeddingConfig, "embedding_settings", "LoraLoopEmbeddingSettings"),
}
"""By the field of TrainConfig."""

FULL_SETTINGS = "LoraLoopFullSettings"
"""The node that takes LoRA Settings' place for full fine-tuning."""

_ORIGIN = re.compile(r"([0-9a-f]{16}) \d+ (?:optimiser|adapters)")


IMPORTED = ("oft_blocks", "oft_constraint")
"""Settings of the LoRA that no node has."""


def run_settings(run: Run) -> dict[str, Any]:
    """What a graph needs to ask for this very run, as far as a run knows it.

    ``train``: the values of Train's widgets. ``sections``: for each settings node the input of Train that
    it belongs to, its class and widgets; ``own``, the widgets of Train that apply without the node, and
    their defaults, ``unset``; ``usual``: whether Train says it all without the node. ``notes``: what the
    graph has to be given by hand, as sentences.

    Raises:
        ValueError: the settings are damaged, or of a newer version.
    """
    if run.damage is not None:
        raise ValueError(run.damage)
    config = stored_config(run.config)
    if config.slider.is_on:
        raise ValueError(
            "This run is a slider, which Train does not make: its prompts and settings go into Train Slider by hand."
        )
    sections = []
    for name, section in SECTIONS.items():
        sections.append({"input": section.input, "node": section.node, **_told(name, config)})
    notes, origin = [], run.inputs.get("origin", "")
    began = _ORIGIN.fullmatch(origin)
    if origin and not began:
        notes.append("It began with a LoRA file: connect that one to start_from.")
    notes += [
        f"It has {name} {getattr(config.lora, name):g}, which Import kohya Config alone sets: connect its "
        "run settings."
        for name in IMPORTED
        if getattr(config.lora, name) != getattr(LoraConfig, name)
    ]
    return {
        "train": _train(config, began[1] if began else ""),
        "sections": sections,
        "notes": notes,
    }


def _told(name: str, config: TrainConfig) -> dict[str, Any]:
    """The widgets of a section, and which of Train's stand for them."""
    part, plain = getattr(config, name), SECTIONS[name].config()
    told = _WIDGETS.get(name, Config.to_dict)
    if isinstance(part, LoraConfig) and part.algorithm == "full":
        return {
            "node": FULL_SETTINGS,
            "widgets": _full(part),
            "own": {},
            "unset": {},
            "usual": False,
        }
    own = OWN[SECTIONS[name].input][2] if SECTIONS[name].input in OWN else {}
    same = {field: getattr(plain, field) for field in own.values()}
    values = told(part)
    return {
        "widgets": values,
        "own": {widget: getattr(part, field) for widget, field in own.items()},
        "unset": {widget: getattr(plain, field) for widget, field in own.items()},
        "usual": told(dataclasses.replace(part, **same)) == told(plain)
        and not values.get("unusual_rate"),
    }


def stored_config(stored: Mapping[str, Any]) -> TrainConfig:
    """The config that a run's description holds; what is younger than the run has its default.

    Raises:
        ValueError: a newer version stored it, or a value is not allowed.
    """
    parts = {
        name: _part(section.config, stored.get(name, {})) for name, section in SECTIONS.items()
    }
    parts["slider"] = _part(SliderConfig, stored.get("slider", {}))
    own = {name: value for name, value in stored.items() if name not in parts}
    return _part(TrainConfig, own | parts)


def _part(kind: type[Any], stored: Mapping[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    strange = sorted(stored.keys() - known)
    if strange:
        raise ValueError(
            f"A newer version of the pack made this run: {', '.join(strange)} cannot be set here."
        )
    return kind(**stored)


def settings_told(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a stored config that are not the defaults, by section and name."""
    return {
        name: value
        for name, value in _leaves(config).items()
        if name not in _USUAL or _USUAL[name] != value
    }


def usual_settings() -> dict[str, Any]:
    """The defaults of all settings, by section and name."""
    return _USUAL


def _leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in config.items():
        inner = value if isinstance(value, dict) else None
        found |= {name: value} if inner is None else {f"{name} {k}": v for k, v in inner.items()}
    return found


_USUAL = _leaves(parse_json(json.dumps(TrainConfig().to_dict())))


def _train(config: TrainConfig, origin: str) -> dict[str, Any]:
    values = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(TrainConfig)
        if field.name not in SECTIONS and field.name != "slider"
    }
    prefetch = {"prefetch_weights": config.speed.prefetch_weights}
    return values | prefetch | {"continue_stopped": False, "continue_from": origin}


def _lora(config: LoraConfig) -> dict[str, Any]:
    values = config.to_dict()
    for name in (
        "parts",
        "fused_backward",
        "bf16_weights",
        *IMPORTED,
    ):  # the first three are of full fine-tuning alone
        del values[name]
    rates = values.pop("block_rates")[1:-1]
    for name in set(BY_BLOCK) & values.keys():
        values[name] = _listed(values[name])
    return values | {
        "down_lr_weight": _listed(rates[:SIDE]),
        "mid_lr_weight": _listed(rates[SIDE : SIDE + MIDDLE]),
        "up_lr_weight": _listed(rates[SIDE + MIDDLE :]),
        "block_lr_zero_threshold": 0.0,
    }


def _full(config: LoraConfig) -> dict[str, Any]:
    memory = {name: getattr(config, name) for name in ("fused_backward", "bf16_weights")}
    return {**wanted_parts(config), "block_rates": _listed(config.block_rates), **memory}


def _optimiser(config: OptimiserConfig) -> dict[str, Any]:
    values = config.to_dict()
    values["optimiser"] = values.pop("type")
    values["optimiser_arguments"] = "\n".join(values.pop("arguments"))
    try:
        config.check_rates()
    except ValueError:
        return values | {"unusual_rate": True}
    return values | {"unusual_rate": False}


def _speed(config: SpeedConfig) -> dict[str, Any]:
    values = config.to_dict()
    del values["prefetch_weights"]  # a widget of Train, which is older
    return values


_WIDGETS: dict[str, Any] = {"lora": _lora, "optimiser": _optimiser, "speed": _speed}
"""Where the widgets are not the fields of the config."""


def _listed(numbers: tuple[float, ...]) -> str:
    """Numbers as a widget takes them; whole ones without a point."""
    return ",".join(str(int(n)) if n == int(n) else repr(n) for n in numbers)
