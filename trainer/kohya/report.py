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
from .dataset import RESOLUTION, FolderPlan
from .network import ignored_arguments, network_differences
from .toml import KNOWN, without_effect
from .unheard import NEEDS, why_unheard
from .unused import IGNORED, REPLACED

_OURS = {
    "lora": LoraConfig, "optimiser": OptimiserConfig, "loss": LossConfig, "train": TrainConfig, "validation": ValidationConfig,
    "captions": CaptionConfig, "buckets": BucketConfig,
}  # fmt: skip


def report(
    arguments: Mapping[str, Any], values: Mapping[str, Any], folders: Sequence[FolderPlan]
) -> str:
    """What was set, what kohya's defaults set, what was ignored and why, and what is unlike kohya.

    ``arguments`` are those that the config holds, ``values`` all, the absent ones with their defaults.
    """
    set_here = [
        f"{name} = {_shown(values[name])}"
        for name in arguments
        if name in HONOURED and name not in REPLACED
    ]
    defaults = [f"{name} = {_shown(value)}" for name, value in _other_defaults(arguments)]
    ignored = [f"{name}: {reason}" for name, reason in _ignored(arguments, values)]
    replaced = [f"{name}: {reason}" for name, reason in REPLACED.items() if name in arguments]
    parts = (
        ("Set", set_here),
        ("Absent, so as kohya has it, where this pack's default is another", defaults),
        ("Ignored", ignored),
        ("In a graph, by another way", replaced),
        ("Unlike kohya", list(_differences(arguments, values, folders))),
    )
    return "\n".join(
        line
        for title, lines in parts
        if lines
        for line in (f"{title}:", *(f"  {line}" for line in lines))
    )


def _ignored(arguments: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Arguments that set nothing, and why."""
    for name in IGNORED:
        if name in arguments:
            yield name, IGNORED[name]
    for name, value in arguments.items():
        if name not in KNOWN:
            yield name, why_unheard(name)
        elif value and without_effect(name, arguments):
            yield name, f"kohya takes no notice of it while {NEEDS[name]} is empty or off"
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


def _differences(
    arguments: Mapping[str, Any], values: Mapping[str, Any], folders: Sequence[FolderPlan]
) -> Iterator[str]:
    if not arguments:
        yield "this is a dataset alone: what is not about images has this pack's defaults"
    yield (
        "images, noise and timesteps are drawn by this pack's own generators: the same seed gives "
        "another LoRA of the same kind"
    )
    if arguments and values["seed"] is None:
        yield "no seed is given: it is 0 here, and kohya draws another at every start"
    if values["lr_scheduler"] == "constant" and values["lr_warmup_steps"]:
        yield "constant with lr_warmup_steps warms up here; kohya stops with an error"
    if folders[0].numbered and not (values["resolution"] or values["max_resolution"]):
        yield f"resolution is {RESOLUTION} where nothing says it; kohya stops with an error"
    if values["max_resolution"] not in (None, values["resolution"] or values["max_resolution"]):
        yield "max_resolution is another than resolution, which overrides it"
    if len(set(values["text_encoder_lr"])) > 1:
        yield "each text encoder has its own rate; kohya takes the first text_encoder_lr for both"
    yield from network_differences(values)
    yield from _data_differences(values, folders)
    if arguments and not values["gradient_checkpointing"]:
        yield "without gradient_checkpointing blocks are recomputed only where memory demands it"
    if values["sample_prompts"]:
        yield "preview prompts without --d have seed 1, so that they can be compared; kohya draws one"


def _data_differences(values: Mapping[str, Any], folders: Sequence[FolderPlan]) -> Iterator[str]:
    if any(folder.is_reg for folder in folders):
        yield (
            "all regularisation images take turns; kohya leaves out those beyond the number of "
            "training images"
        )
    if len({folder.buckets for folder in folders}) > 1:
        yield "a batch may hold images of several [[datasets]] when their sizes are the same"
    if any(folder.alpha_mask for folder in folders) or values["masked_loss"]:
        yield (
            "the alpha channel of any image is its mask where it has no other; in kohya only under "
            "alpha_mask of its subset"
        )
    if values["train_data_dir"] and not folders[0].numbered:
        yield "the dataset toml overrides train_data_dir and reg_data_dir, as in kohya"
    if any(folder.held_out[0] for folder in folders):
        yield (
            "held-out images are measured on eight timesteps as a difference to step 0, and "
            "max_validation_steps counts images"
        )
    if values["cache_text_encoder_outputs"] and _changes_captions(folders):
        yield (
            "cached captions are shown with prefix, suffix, shuffling, dropout and wildcards; kohya "
            "refuses that or leaves it out"
        )


def _changes_captions(folders: Sequence[FolderPlan]) -> bool:
    return any(
        folder.captions.prefix or folder.captions.suffix or not folder.captions.is_plain
        for folder in folders
    )


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
