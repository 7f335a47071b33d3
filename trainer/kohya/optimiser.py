"""kohya's optimiser and schedule arguments as the settings of the optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from ...base.config import Problems
from ..config.optimiser import LrSchedule
from ..config.optimiser_arguments import parse_arguments
from ..config.optimisers import ADAMW_ALIKE, OptimiserType, find_kind, is_relative
from .network import leaves_text

SCHEDULE_ARGUMENTS = {
    "piecewise_constant": {"step_rules": "step_rules"},
    "polynomial": {"lr_end": "end_rate"},
    "warmup_stable_decay": {"warmup_type": "warmup_shape", "decay_type": "decay_shape"},
}
"""What lr_scheduler_args may hold for each schedule, and the field that it is."""


def optimiser_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The OptimiserConfig fields that several arguments decide together.

    Raises:
        ValueError: the optimiser or the schedule is unknown, or their arguments contradict.
    """
    kind = _kind(values)
    lines = values["optimizer_args"]
    given = parse_arguments(lines)
    own: dict[str, Any] = {}
    if kind in ADAMW_ALIKE:
        own = _adamw(given)
        lines = tuple(line for line in lines if line.partition("=")[0].strip() in given)
    return {
        "type": kind,
        **_rates(values),
        "arguments": lines,
        **own,
        **_schedule(values, kind, given),
    }


def _rates(values: Mapping[str, Any]) -> dict[str, Any]:
    """The learning rates of UNet and text encoders; one that is not given is learning_rate."""
    shared, texts = values["learning_rate"], values["text_encoder_lr"]
    unet = shared if values["unet_lr"] is None else values["unet_lr"]
    if len(texts) > 2:
        raise ValueError(f"text_encoder_lr has {len(texts)} numbers; SDXL has two text encoders")
    first, second = (texts[0], texts[-1]) if texts else (shared, shared)
    if values["network_train_unet_only"] or leaves_text(values):
        first = second = 0.0
    elif values["cache_text_encoder_outputs"]:
        raise ValueError(
            "cache_text_encoder_outputs leaves the text encoders as they are; add "
            "network_train_unet_only = true, or take it away to train them"
        )
    return {
        "learning_rate": unet or shared,
        "text_encoder_1_rate": first,
        "text_encoder_2_rate": second,
        "train_unet": not values["network_train_text_encoder_only"] and unet > 0,
    }


def _kind(values: Mapping[str, Any]) -> str:
    problems = Problems()
    name = values["optimizer_type"] or "AdamW"
    for switch, kind in (("use_8bit_adam", "AdamW8bit"), ("use_lion_optimizer", "Lion")):
        if values[switch]:
            agrees = name.lower() in ("adamw", kind.lower())
            problems.need(agrees, f"{switch} contradicts optimizer_type {name!r}; take one away")
            name = kind
    found = find_kind(name) or find_kind(name.rpartition(".")[2])
    known = ", ".join(get_args(OptimiserType))
    problems.need(found is not None, f"optimizer_type is {name!r}; it must be one of {known}")
    if problems:
        raise ValueError("; ".join(problems))
    return str(found)


def _adamw(given: dict[str, Any]) -> dict[str, Any]:
    """What AdamW's own settings say, taken out of the arguments."""
    own: dict[str, Any] = {}
    if "betas" in given:
        betas = given.pop("betas")
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"optimizer_args betas is {betas!r}; write two numbers, as 0.9,0.999")
        own["beta1"], own["beta2"] = betas
    for argument, name in (("eps", "epsilon"), ("weight_decay", "weight_decay")):
        if argument in given:
            own[name] = given.pop(argument)
    wrong = [name for name, value in own.items() if not isinstance(value, int | float)]
    if wrong:
        raise ValueError(f"optimizer_args {wrong[0]} is {own[wrong[0]]!r}; it must be a number")
    return own


def _schedule(values: Mapping[str, Any], kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    name = values["lr_scheduler"]
    if is_relative(kind, given):
        return {"schedule": "constant", "warmup": 0.0}
    if name == "constant_with_warmup":
        name = "constant"
    if name not in get_args(LrSchedule):
        known = ", ".join(("constant_with_warmup", *get_args(LrSchedule)))
        raise ValueError(f"lr_scheduler is {name!r}; it must be one of {known}")
    try:
        arguments = parse_arguments(values["lr_scheduler_args"])
    except ValueError as error:
        raise ValueError(f"lr_scheduler_args: {error}") from error
    fields = SCHEDULE_ARGUMENTS.get(name, {})
    unknown = sorted(arguments.keys() - fields.keys())
    if unknown:
        known = f"has {', '.join(fields)}" if fields else "has none"
        raise ValueError(f"lr_scheduler_args has {unknown[0]}; {name} {known} there")
    return {"schedule": name, **{fields[key]: value for key, value in arguments.items()}}
