"""What a config means to kohya and not here, in sentences for the report; docs/kohya.md has the reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .dataset import RESOLUTION, FolderPlan
from .network import network_differences
from .previews import are_wanted


def differences(
    arguments: Mapping[str, Any], values: Mapping[str, Any], folders: Sequence[FolderPlan]
) -> Iterator[str]:
    """Where the config means something else in kohya, a sentence each.

    ``arguments`` and ``values`` are those of a report (`trainer/kohya/report.py`).
    """
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
    yield from _model_differences(arguments, values)
    yield from _length_differences(arguments)
    if values["max_resolution"] not in (None, values["resolution"] or values["max_resolution"]):
        yield "max_resolution is another than resolution, which overrides it"
    if len(set(values["text_encoder_lr"])) > 1:
        yield "each text encoder has its own rate; kohya takes the first text_encoder_lr for both"
    yield from network_differences(values)
    yield from _data_differences(values, folders)
    if arguments and not values["gradient_checkpointing"]:
        yield "without gradient_checkpointing blocks are recomputed only where memory demands it"
    if are_wanted(values):
        yield "preview prompts without --d have seed 1, so that they can be compared; kohya draws one"


def _model_differences(arguments: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    """What the model itself says here and arguments say in kohya."""
    if arguments.get("v_parameterization") is False:
        yield (
            "v_parameterization = false: the model says what it predicts; kohya trains a model that "
            "predicts v as one that predicts noise"
        )
    asked = values["v_parameterization"] or "zero_terminal_snr" in arguments
    if asked and not values["zero_terminal_snr"]:
        yield (
            "zero_terminal_snr is off: a model whose own noise schedule ends in pure noise keeps it; kohya "
            "takes the schedule of SDXL"
        )


def _length_differences(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Numbers of steps and epochs that kohya reads in another way."""
    if arguments.get("max_train_epochs") == 0:
        yield "max_train_epochs = 0 counts as absent; kohya trains nothing"
    for name in ("lr_warmup_steps", "lr_decay_steps"):
        given = arguments.get(name)
        if isinstance(given, float) and given >= 1:
            yield (
                f"{name} = {given!r} is a number of steps; to kohya a number with a point is a share, here "
                f"{given:g} times all steps"
            )
        elif isinstance(given, str):
            yield f"{name} = {given!r} is a share of all steps; kohya knows it on its command line only"


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
    if values["conditioning_data_dir"] and folders[0].numbered:
        yield "the masks of conditioning_data_dir are those of train_data_dir; kohya reads them in a dataset toml only"
    if values["train_data_dir"] and not folders[0].numbered:
        yield "the dataset toml overrides train_data_dir and reg_data_dir, as in kohya"
    if any(folder.held_out[0] for folder in folders):
        yield (
            "held-out images are measured on eight timesteps as a difference to step 0, and "
            "max_validation_steps counts images"
        )
    if any(f.captions.separator != "," and not f.captions.is_plain for f in folders):
        yield (
            "tags are joined again by caption_separator, as in kohya since June 2026; before, it took "
            "a comma (joining in Caption Settings)"
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
