"""A kohya config.toml as our settings: every argument honoured, ignored with a reason, or refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...base.config import Problems
from ..config.about import About
from ..config.cache import CacheConfig, TextConfig
from ..config.checkpoints import CheckpointConfig, Precision
from ..config.lora import LoraConfig
from ..config.loss import LossConfig
from ..config.optimiser import OptimiserConfig
from ..config.train import TrainConfig
from ..config.validation import ValidationConfig
from .arguments import HONOURED
from .dataset import FolderPlan, largest_batch, plan_folders
from .network import network_settings
from .optimiser import optimiser_settings
from .previews import preview_settings
from .report import report
from .toml import KohyaFile, Locate, checked, parse, read_text

MODELSPEC = ("usage_hint", "thumbnail", "merged_from", "preprocessor", "is_negative_embedding")
"""kohya's metadata_* that have no meaning here, and are written as they are."""

_PRECISIONS: dict[str, Precision] = {"float": "fp32", "fp16": "fp16", "bf16": "bf16"}


class Source(NamedTuple):
    """The config and, or None, the dataset toml that overrides its own: names and texts."""

    name: str
    text: str
    dataset_name: str = ""
    dataset_text: str | None = None


@dataclass(frozen=True)
class Files:
    """What a config says of files, for the command line; a graph has sockets and nodes instead."""

    checkpoint: str = ""
    vae: str = ""
    base_weights: tuple[str, ...] = ()
    base_strengths: tuple[float, ...] = ()
    predicts_v: bool = False
    output_dir: str = ""
    network_weights: str = ""
    """The LoRA that training starts from."""
    about: About = field(default_factory=About)
    words: Mapping[str, str] = field(default_factory=dict)
    """Further words for the LoRA's metadata, by key."""
    bare: bool = False
    """kohya's no_metadata: only what the file's use needs."""


@dataclass(frozen=True)
class KohyaConfig:
    """A config in our words. ``previews`` are the fields of the preview settings, which are the host's."""

    train: TrainConfig
    cache: CacheConfig
    folders: tuple[FolderPlan, ...]
    previews: Mapping[str, Any]
    checkpoints: CheckpointConfig
    files: Files
    trigger: str
    report: str


def import_config(source: Source, locate: Locate) -> KohyaConfig:
    """The settings that a config stands for.

    ``locate`` finds files that it names: a dataset toml, preview prompts.

    Raises:
        ValueError: lists what is wrong, unknown or not available.
    """
    file = parse(source.text, source.name)
    values = checked(file.arguments, source.name)
    values["caption_extension"] = values["caption_extention"] or values["caption_extension"]
    tables = _dataset_tables(source, file, values, locate)
    try:
        folders, left_out = plan_folders(values, tables)
        settings = _settings(values, folders)
        settings["previews"] |= preview_settings(values, locate, has_prompts=file.has_prompts)
        if not file.arguments:
            settings |= _untouched(settings)
        train = TrainConfig(
            lora=LoraConfig(**settings["lora"]),
            optimiser=OptimiserConfig(**settings["optimiser"]),
            loss=LossConfig(**settings["loss"]),
            captions=settings["captions"],
            validation=ValidationConfig(**settings["validation"]),
            **settings["train"],
        )
        checkpoints = CheckpointConfig(**settings["checkpoints"])
    except ValueError as error:
        raise ValueError(f"{source.name}: {error}") from error
    cache = CacheConfig(texts=TextConfig(**settings["texts"]), **settings["cache"])
    files = Files(about=About(**settings["about"]), **settings["files"])
    trigger, said = (
        values["metadata_trigger_phrase"],
        report(file.arguments, values, folders, left_out, file.unused),
    )
    return KohyaConfig(
        train, cache, folders, settings["previews"], checkpoints, files, trigger, said
    )


def _dataset_tables(
    source: Source, file: KohyaFile, values: Mapping[str, Any], locate: Locate
) -> dict[str, Any]:
    """The dataset's tables, of whichever of the three places has them."""
    named = values["dataset_config"]
    given = [bool(file.dataset), bool(named), source.dataset_text is not None]
    if given[:2] == [True, True]:
        raise ValueError(
            f"{source.name} has [[datasets]] and names dataset_config; take one of them away."
        )
    name, text = source.dataset_name, source.dataset_text
    if text is None and named:
        path = locate(named, "dataset_config")
        name, text = path.name, read_text(path)
    if text is None:
        return file.dataset
    found = parse(text, name)
    if not found.dataset or found.arguments:
        extra = f", and cannot hold {next(iter(found.arguments))}" if found.arguments else ""
        raise ValueError(f"{name}: a dataset toml needs [[datasets]] with subsets{extra}.")
    return found.dataset


def _settings(values: Mapping[str, Any], folders: tuple[FolderPlan, ...]) -> dict[str, Any]:
    """The fields of each of our settings."""
    found: dict[str, Any] = defaultdict(dict)
    for name, key in HONOURED.items():
        section, _, field = key.sets.partition(".")
        if section:
            found[section][field] = values[name]
    problems = Problems()
    for section, derive in (("lora", network_settings), ("optimiser", optimiser_settings)):
        try:
            found[section] |= derive(values)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    main = folders[0]
    found["captions"] = main.captions
    found["cache"] |= {"buckets": main.buckets, "flip": main.flip, "kohya": True}
    found["texts"]["chunks"] = f"kohya {values['max_token_length']}"
    found["loss"]["masked"] |= any(folder.alpha_mask for folder in folders)
    found["loss"]["zero_terminal_snr"] = "on" if values["zero_terminal_snr"] else "model"
    found["train"] |= {
        "batch_size": largest_batch(folders),
        "seed": values["seed"] or 0,
        **({"steps": 1} if values["max_train_epochs"] and not values["max_train_steps"] else {}),
        "checkpointing": "full" if values["gradient_checkpointing"] else "auto",
    }
    found["validation"] = _validation(found["validation"], folders)
    strengths = values["base_weights_multiplier"]
    missing = len(values["base_weights"]) - len(strengths)
    found["files"]["words"] = {
        f"modelspec.{word}": values[f"metadata_{word}"]
        for word in MODELSPEC
        if values[f"metadata_{word}"]
    }
    found["files"]["base_strengths"] = (*strengths, *[1.0] * missing)
    found["checkpoints"]["precision"] = _PRECISIONS[values["save_precision"]]
    return found


def _untouched(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a dataset toml alone: whatever is not about images has our defaults."""
    train = {"batch_size": settings["train"]["batch_size"]}
    loss = {"masked": settings["loss"]["masked"]}
    return {"train": train, "loss": loss, "lora": {}, "optimiser": {}, "texts": {}}


def _validation(given: Mapping[str, Any], folders: tuple[FolderPlan, ...]) -> dict[str, Any]:
    """kohya validates after every epoch unless told otherwise; without a share of images, never."""
    share, seed = _alike(folders, "held_out", "validation splits and seeds")
    if not share:
        return {}
    if not 0 < share < 1:
        raise ValueError(f"validation_split is {share:g}; it must be a share below 1")
    every_epochs = given["every_epochs"] or 1
    return {**given, "held_out": share, "seed": seed, "every_epochs": every_epochs}


def _alike(folders: tuple[FolderPlan, ...], field: str, what: str) -> Any:
    """What all folders must have in common, because a training has one."""
    found = {getattr(folder, field) for folder in folders if not folder.is_reg}
    if len(found) > 1:
        raise ValueError(
            f"the datasets have {what} {', '.join(map(str, sorted(found)))}; give all the same"
        )
    return found.pop()
