"""Replays the metadata of a recorded kohya run: its command line and images in, every key compared.

The images are made again from what was recorded of them: folder and size from the names of their
caches, captions from the steps that showed them.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..trainer.batches.plan import batches_per_epoch, epoch_of, with_steps
from ..trainer.cache.latents import CachedDataset
from ..trainer.config.captions import CaptionConfig
from ..trainer.kohya.config import KohyaConfig
from ..trainer.lora_files.metadata import ModelFile, RunFacts, describe
from .case import Case, Unsupported
from .dataset_plan import make_cache
from .kohya_arguments import from_words, import_all

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
    """One case per recorded key, one for the keys that are missing from ours, one for the counters of checkpoints."""
    recorded = json.loads((folder / "metadata_run.json").read_text("utf-8"))
    theirs = recorded["metadata_last"]
    given = from_words(recorded["command_line"])
    config = import_all(given, "metadata_run")
    if config.train.optimiser.trains_text:
        raise Unsupported("metadata_run: training of the text encoders")
    with tempfile.TemporaryDirectory() as root:
        cached = make_cache(Path(root), _tree(recorded, config), config)
    train = with_steps(config.train, cached)
    if "seed" not in given:  # kohya drew one
        train = replace(train, seed=int(theirs["ss_seed"]))
    config = replace(config, train=train)
    ours = _metadata(config, cached, given)
    compared = sorted(theirs.keys() - NOT_COMPARED.keys())
    missing = [key for key in compared if key not in ours]
    yield Case("metadata_run keys missing from ours", float(len(missing)), 0.0)
    for key in compared:
        expected = _meant(key, theirs)
        yield Case(f"metadata_run {key}", float(not _same(ours.get(key, ""), expected)), 0.0)
    wrong = [
        name
        for name, counters in recorded.get("metadata_epoch", {}).items()
        if _epoch(name, counters) != epoch_of(cached, train, int(counters["ss_steps"]))[0]
    ]
    yield Case("metadata_run epochs of checkpoints", float(len(wrong)), 0.0)


def _metadata(
    config: KohyaConfig, cached: CachedDataset, given: Mapping[str, Any]
) -> dict[str, str]:
    train, files = config.train, config.files
    facts = RunFacts(
        steps=train.steps,
        epochs=epoch_of(cached, train, train.steps)[0],
        batches_per_epoch=batches_per_epoch(cached, train.batch_size),
        started=0.0,
        finished=0.0,
        prediction="v" if files.predicts_v else "epsilon",
        zero_terminal_snr=train.loss.zero_terminal_snr == "on",
        precision=given.get("mixed_precision", "no"),
        fp8=bool(given.get("fp8_base")),
        model=ModelFile(PurePosixPath(files.checkpoint).name),
    )
    return {**describe(train, cached, facts), **files.about.keys(config.checkpoints.name or "None")}


def _tree(recorded: Mapping[str, Any], config: KohyaConfig) -> dict[str, list[list[Any]]]:
    """Folder -> rows of (stem, width, height, caption). Raises Unsupported without recorded caches."""
    roots = {plan.path: "reg" if plan.is_reg else "data" for plan in config.folders}
    found: dict[tuple[str, int, int], list[str]] = {}
    for path in sorted(map(PurePosixPath, recorded.get("cache_files", {}))):
        name, root = _CACHE.fullmatch(path.name), roots.get(str(path.parent.parent))
        if name is not None and root is not None:
            place = f"{root}/{path.parent.name}", int(name["width"]), int(name["height"])
            found.setdefault(place, []).append(name["stem"])
    if not found:
        raise Unsupported("metadata_run: images without recorded latent caches")
    shown = _shown(recorded, config.train.captions)
    tags = json.loads(recorded["metadata_last"]["ss_tag_frequency"])
    tree: dict[str, list[list[Any]]] = {}
    for (folder, width, height), stems in found.items():
        known = tags.get(PurePosixPath(folder).name, {})
        texts = _captions(shown.get((width, height), Counter()), known, len(stems))
        rows = [[stem, width, height, text] for stem, text in zip(stems, texts, strict=True)]
        tree.setdefault(folder, []).extend(rows)
    return tree


def _shown(
    recorded: Mapping[str, Any], options: CaptionConfig
) -> dict[tuple[int, int], Counter[str]]:
    """How often each caption was shown with images of a size, (width, height)."""
    shown: dict[tuple[int, int], Counter[str]] = {}
    for step in recorded["steps"]:
        for caption, (height, width) in zip(
            step["captions"], step["original_sizes_hw"], strict=True
        ):
            if caption or not options.dropout:
                words = [word.strip() for word in caption.split(",")]
                text = ", ".join(sorted(words) if options.shuffle else words)
                shown.setdefault((width, height), Counter())[text] += 1
    return shown


def _captions(shown: Counter[str], tags: Mapping[str, int], count: int) -> list[str]:
    """The captions of ``count`` images: of those shown that the folder can hold, each by its share."""
    left: dict[str, float] = {
        c: n for c, n in shown.items() if all(w.strip().lower() in tags for w in c.split(","))
    }
    share, found = sum(left.values()) / count, []
    for _ in range(count if left else 0):
        found.append(max(left, key=left.__getitem__))
        left[found[-1]] -= share
    return found or [""] * count


def _meant(key: str, theirs: Mapping[str, str]) -> str:
    """The value that kohya used where it writes None for a default."""
    defaults = {"ss_network_dim": "4", "ss_unet_lr": theirs["ss_learning_rate"]}
    return defaults[key] if theirs[key] == "None" and key in defaults else theirs[key]


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
