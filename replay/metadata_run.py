"""Replays the metadata of a recorded kohya run: its command line and pictures in, every key compared.

The pictures are made again from what was recorded of them: folder and size from the names of their
caches, captions from the steps that showed them.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..trainer.batches.plan import batches_per_epoch, epoch_of
from ..trainer.cache.latents import CachedDataset, LatentConfig, cache_latents
from ..trainer.config.cache import TextConfig
from ..trainer.config.train import TrainConfig
from ..trainer.dataset.dataset import Dataset
from ..trainer.dataset.scan import scan_folder
from ..trainer.dataset.subsets import SubsetConfig, with_options
from ..trainer.files.store import Store
from ..trainer.lora_files.metadata import ModelFile, RunFacts, describe
from ..trainer.lora_files.modelspec import About
from . import kohya_arguments
from .case import Case, Unsupported
from .dataset_plan import no_vae, write_tree
from .train import optimiser_config

NOT_COMPARED = {
    "ss_session_id": "a random number of kohya's process",
    "ss_training_started_at": "a time",
    "ss_training_finished_at": "a time",
    "modelspec.date": "a time",
    "ss_sd_scripts_commit_hash": "kohya's version; ours is lora_loop.version",
    "modelspec.implementation_version": "kohya's version, ours names this pack",
    "ss_sd_model_hash": "the checkpoint is not recorded",
    "ss_new_sd_model_hash": "the checkpoint is not recorded",
    "sshs_model_hash": "the LoRA file is not recorded",
    "sshs_legacy_hash": "the LoRA file is not recorded",
    "ss_learning_rate": "means nothing in kohya where the UNet has a rate; ours is compared as ss_unet_lr",
    "ss_text_encoder_lr": "means nothing in kohya where only the UNet is trained",
    "ss_cache_latents": "kohya may also encode at every step",
    "ss_lowram": "where kohya loads the model",
}
"""Keys that are of kohya's own process or of files that are not recorded, and why."""

_CACHE = re.compile(r"(?P<stem>.+)_(?P<width>\d{4,})x(?P<height>\d{4,})_sdxl\.npz")
_NUMBERS_BOUND = 1e-12


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """One case per recorded key, one for the keys that ours lack, one for the counters of checkpoints."""
    recorded = json.loads((folder / "metadata_run.json").read_text("utf-8"))
    theirs = recorded["metadata_last"]
    given = kohya_arguments.parse(recorded["command_line"])
    with tempfile.TemporaryDirectory() as root:
        cached = _cache(Path(root), recorded, given)
    batches = batches_per_epoch(cached, given.train_batch_size)
    config = _config(given, theirs, batches)
    ours = _metadata(config, cached, given, batches)
    compared = sorted(theirs.keys() - NOT_COMPARED.keys())
    lacking = [key for key in compared if key not in ours]
    yield Case("metadata_run keys that ours lack", float(len(lacking)), 0.0)
    for key in compared:
        expected = _meant(key, theirs[key], given)
        yield Case(f"metadata_run {key}", float(not _same(ours.get(key, ""), expected)), 0.0)
    wrong = [
        name
        for name, counters in recorded.get("metadata_epoch", {}).items()
        if _epoch(name, counters) != epoch_of(cached, config, int(counters["ss_steps"]))[0]
    ]
    yield Case("metadata_run epochs of checkpoints", float(len(wrong)), 0.0)


def _config(given: argparse.Namespace, theirs: Mapping[str, str], batches: int) -> TrainConfig:
    per_epoch = math.ceil(batches / given.gradient_accumulation_steps)
    steps = given.max_train_steps
    if given.max_train_epochs:
        steps = given.max_train_epochs * per_epoch
    settings = {**vars(given), "max_train_steps": steps}
    seed = given.seed if given.seed is not None else int(theirs["ss_seed"])  # kohya drew one
    return TrainConfig(
        steps=steps,
        batch_size=given.train_batch_size,
        accumulation=given.gradient_accumulation_steps,
        seed=seed,
        lora=kohya_arguments.network(given),
        optimiser=optimiser_config("metadata_run", settings, given.max_grad_norm),
        loss=kohya_arguments.loss(given),
        captions=kohya_arguments.captions(given),
        checkpointing="full" if given.gradient_checkpointing else "off",
    )


def _metadata(
    config: TrainConfig, cached: CachedDataset, given: argparse.Namespace, batches: int
) -> dict[str, str]:
    facts = RunFacts(
        steps=config.steps,
        epochs=epoch_of(cached, config, config.steps)[0],
        batches_per_epoch=batches,
        started=0.0,
        finished=0.0,
        prediction="v" if given.v_parameterization else "epsilon",
        zero_terminal_snr=given.zero_terminal_snr,
        precision=given.mixed_precision,
        fp8=given.fp8_base,
        model=ModelFile(PurePosixPath(given.pretrained_model_name_or_path).name),
    )
    about = About(
        title=given.metadata_title or "",
        author=given.metadata_author or "",
        description=given.metadata_description or "",
        license=given.metadata_license or "",
        tags=given.metadata_tags or "",
        comment=given.training_comment or "",
    )
    return {**describe(config, cached, facts), **about.keys(given.output_name or "None")}


def _cache(root: Path, recorded: Mapping[str, Any], given: argparse.Namespace) -> CachedDataset:
    tree = _tree(recorded, given)
    write_tree(root, tree, ".txt")
    has_reg = any(folder.startswith("reg/") for folder in tree)
    dataset = scan_folder(root / "data", reg_root=root / "reg" if has_reg else None)
    dataset = _weighed(dataset, given.prior_loss_weight)
    recipe = LatentConfig(
        kohya_arguments.buckets(given),
        "none",
        flip=given.flip_aug,
        kohya=True,
        interpolation=given.resize_interpolation,
    )
    cached = cache_latents(dataset, recipe, no_vae, Store(root / "cache"))
    length = given.max_token_length or 75
    return replace(cached, texts=TextConfig(f"kohya {length}"))  # pyright: ignore[reportArgumentType]  (it refuses others)


def _weighed(dataset: Dataset, weight: float) -> Dataset:
    """kohya's prior_loss_weight on the regularisation pictures."""
    reg = [replace(dataset, subsets=(s,)) for s in dataset.subsets if s.is_reg]
    changed = [with_options(d, SubsetConfig(loss_weight=weight)).subsets[0] for d in reg]
    return replace(dataset, subsets=(*(s for s in dataset.subsets if not s.is_reg), *changed))


def _tree(recorded: Mapping[str, Any], given: argparse.Namespace) -> dict[str, list[list[Any]]]:
    """Folder -> rows of (stem, width, height, caption). Raises Unsupported without recorded caches."""
    roots = {given.train_data_dir: "data", given.reg_data_dir: "reg"}
    found: dict[tuple[str, int, int], list[str]] = {}
    for path in sorted(map(PurePosixPath, recorded.get("cache_files", {}))):
        name, root = _CACHE.fullmatch(path.name), roots.get(str(path.parent.parent))
        if name is not None and root is not None:
            place = f"{root}/{path.parent.name}", int(name["width"]), int(name["height"])
            found.setdefault(place, []).append(name["stem"])
    if not found:
        raise Unsupported("metadata_run: pictures without recorded latent caches")
    shown = _shown(recorded, given)
    tags = json.loads(recorded["metadata_last"]["ss_tag_frequency"])
    tree: dict[str, list[list[Any]]] = {}
    for (folder, width, height), stems in found.items():
        known = tags.get(PurePosixPath(folder).name, {})
        texts = _captions(shown.get((width, height), Counter()), known, len(stems))
        rows = [[stem, width, height, text] for stem, text in zip(stems, texts, strict=True)]
        tree.setdefault(folder, []).extend(rows)
    return tree


def _shown(
    recorded: Mapping[str, Any], given: argparse.Namespace
) -> dict[tuple[int, int], Counter[str]]:
    """How often each caption was shown with pictures of a size, (width, height)."""
    shown: dict[tuple[int, int], Counter[str]] = {}
    for step in recorded["steps"]:
        for caption, (height, width) in zip(
            step["captions"], step["original_sizes_hw"], strict=True
        ):
            if caption or not given.caption_dropout_rate:
                words = [word.strip() for word in caption.split(",")]
                text = ", ".join(sorted(words) if given.shuffle_caption else words)
                shown.setdefault((width, height), Counter())[text] += 1
    return shown


def _captions(shown: Counter[str], tags: Mapping[str, int], count: int) -> list[str]:
    """The captions of ``count`` pictures: of those shown that the folder can hold, each by its share."""
    left: dict[str, float] = {
        c: n for c, n in shown.items() if all(w.strip().lower() in tags for w in c.split(","))
    }
    share, found = sum(left.values()) / count, []
    for _ in range(count if left else 0):
        found.append(max(left, key=left.__getitem__))
        left[found[-1]] -= share
    return found or [""] * count


def _meant(key: str, value: str, given: argparse.Namespace) -> str:
    """The value that kohya used where it writes None for a default."""
    defaults = {"ss_network_dim": given.network_dim, "ss_unet_lr": given.learning_rate}
    return str(defaults[key]) if value == "None" and key in defaults else value


def _epoch(name: str, counters: Mapping[str, str]) -> int:
    """The epoch from 1 of a checkpoint: kohya counts from 0 in those that are named by step."""
    by_step = re.search(r"-step\d+\.safetensors$", name) is not None
    return int(counters["ss_epoch"]) + by_step


def _same(ours: object, theirs: object) -> bool:
    """Equal texts, equal numbers, or JSON of equal structure."""
    if ours == theirs:
        return True
    if isinstance(ours, str) and isinstance(theirs, str):
        try:
            ours, theirs = json.loads(ours), json.loads(theirs)
        except ValueError:
            return False
        return not isinstance(ours, str) and _same(ours, theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    numbers = (int, float)
    if isinstance(ours, numbers) and isinstance(theirs, numbers):
        return math.isclose(ours, theirs, rel_tol=_NUMBERS_BOUND)
    return False
