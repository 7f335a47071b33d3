"""What became of a kohya config, in words for the user."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..config.captions import CaptionConfig
from ..config.lora import LoraConfig
from ..config.loss import LossConfig
from ..config.optimiser import OptimiserConfig
from ..config.train import TrainConfig
from ..config.validation import ValidationConfig
from ..sdxl.buckets import BucketConfig
from .arguments import HONOURED
from .dataset import FolderPlan
from .differences import differences
from .network import ignored_arguments
from .previews import CADENCE, are_wanted
from .toml import KNOWN, without_effect
from .unheard import NEEDS, why_unheard
from .unused import IGNORED, REFUSED, REPLACED

_OURS = {
    "lora": LoraConfig, "optimiser": OptimiserConfig, "loss": LossConfig, "train": TrainConfig, "validation": ValidationConfig,
    "captions": CaptionConfig, "buckets": BucketConfig,
}  # fmt: skip

_OF_FRONT_END = (
    "kohya_ss' own, or of other models or scripts; the trainer of SDXL LoRAs has none of them"
)


def report(
    arguments: Mapping[str, Any],
    values: Mapping[str, Any],
    folders: Sequence[FolderPlan],
    left_out: Sequence[str] = (),
    unused: Sequence[str] = (),
) -> str:
    """What was set, what kohya's defaults set, what was ignored and why, and what is unlike kohya.

    ``arguments`` are those that the config holds, ``values`` all, the absent ones with their defaults;
    ``unused`` is what a front end has and the trainer does not.
    """
    set_here = [
        f"{name} = {_shown(values[name])}"
        for name in arguments
        if name in HONOURED and name not in REPLACED
    ]
    defaults = [f"{name} = {_shown(value)}" for name, value in _other_defaults(arguments)]
    own = HONOURED["caption_extension"].default
    if "caption_extension" not in arguments and any(folder.extension == own for folder in folders):
        defaults.append(f"caption_extension = {_shown(own)}")
    ignored = [f"{name}: {reason}" for name, reason in _ignored(arguments, values, folders)]
    if unused:
        ignored.append(f"{', '.join(unused)}: {_OF_FRONT_END}")
    replaced = [f"{name}: {reason}" for name, reason in REPLACED.items() if name in arguments]
    parts = (
        ("Set", set_here),
        ("Absent, so as kohya has it, where this pack's default is another", defaults),
        ("Ignored", ignored),
        ("In a graph, by another way", replaced),
        ("Left out, as kohya does", left_out),
        ("Unlike kohya", list(differences(arguments, values, folders))),
    )
    return "\n".join(
        line
        for title, lines in parts
        if lines
        for line in (f"{title}:", *(f"  {line}" for line in lines))
    )


def _ignored(
    arguments: Mapping[str, Any], values: Mapping[str, Any], folders: Sequence[FolderPlan]
) -> Iterator[tuple[str, str]]:
    """Arguments that set nothing, and why."""
    for name in IGNORED:
        if name in arguments:
            yield name, IGNORED[name]
    if any(folder.masks and not folder.masked for folder in folders):
        yield "conditioning_data_dir", "not used: masked_loss is off"
    for name in dict.fromkeys(name for folder in folders for name in folder.free):
        yield f"custom_attributes {name}", "kohya's trainer takes no notice of it either"
    if values["sample_prompts"] and not are_wanted(values):
        yield "sample_prompts", f"no preview without one of {', '.join(CADENCE)}"
    for name, value in arguments.items():
        if name not in KNOWN:
            yield name, why_unheard(name)
        elif value and without_effect(name, arguments):
            yield name, f"kohya takes no notice of it while {NEEDS[name]} is empty or off"
        elif name in REFUSED:
            yield name, f"{_shown(value)} changes nothing"
    yield from ignored_arguments(values)


def _other_defaults(arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Absent arguments whose default in kohya is not that of our settings."""
    for name, key in HONOURED.items() if arguments else ():
        section, _, field = key.sets.partition(".")
        if name in arguments or section not in _OURS:
            continue
        ours = next(f.default for f in dataclasses.fields(_OURS[section]) if f.name == field)
        if ours != key.default:
            yield name, key.default


def _shown(value: Any) -> str:
    """A value as toml writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
