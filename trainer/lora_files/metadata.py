"""What a LoRA file says of itself: kohya's `ss_*` keys and modelspec, all values text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from ..cache.latents import CachedDataset
from ..config.train import TrainConfig
from ..sdxl.constants import TIMESTEPS
from ..sdxl.schedule import Prediction
from .file import GRAPH_KEYS
from .metadata_data import data_keys
from .metadata_recipe import recipe_keys

VERSION = "0.1.0"

PRIVATE_KEYS = (
    "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_datasets", "ss_tag_frequency", "ss_sd_model_name",
    "modelspec.thumbnail", *GRAPH_KEYS,
)  # fmt: skip
"""Keys that name folders, files or tags of the user's machine, or show the graph or an image."""


@dataclass(frozen=True)
class ModelFile:
    """The checkpoint that was trained on: its name, and kohya's two hashes of it ("" if not known)."""

    name: str
    sha256: str = ""
    short_hash: str = ""

    def metadata(self) -> dict[str, str]:
        """kohya's keys."""
        hashes = {"ss_sd_model_hash": self.short_hash, "ss_new_sd_model_hash": self.sha256}
        return {"ss_sd_model_name": self.name} | (hashes if self.sha256 else {})


@dataclass(frozen=True)
class RunFacts:
    """What a finished run knows beside its config. Times are unix seconds.

    ``session``: one number for all files of the run. ``precision``: kohya's mixed_precision, that is
    the dtype of the forward: no, fp16 or bf16. ``fp8``: the base model's weights are stored in 8 bits.
    """

    steps: int
    epochs: int
    batches_per_epoch: int
    started: float
    finished: float
    prediction: Prediction
    zero_terminal_snr: bool
    trigger: str = ""
    session: int = 0
    precision: str = "no"
    fp8: bool = False
    model: ModelFile | None = None


def describe(config: TrainConfig, cached: CachedDataset, facts: RunFacts) -> dict[str, str]:
    """kohya's metadata of a run.

    Without its name (see trainer/lora_files/modelspec.py) and the hashes (see trainer/lora_files/file.py).
    """
    values: dict[str, object] = {
        **_run_keys(facts),
        **recipe_keys(config),
        **data_keys(cached, config),
        **_model_keys(facts),
        **_modelspec_keys(cached, config, facts),
        "lora_loop.version": VERSION,
        "lora_loop.config": json.dumps(config.to_dict()),
    }
    if facts.trigger:
        values["modelspec.trigger_phrase"] = facts.trigger
    return {key: value if isinstance(value, str) else str(value) for key, value in values.items()}


def without_private(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata without names of folders, files and tags, without graph and thumbnail."""
    return {key: value for key, value in metadata.items() if key not in PRIVATE_KEYS}


def _run_keys(facts: RunFacts) -> dict[str, object]:
    return {
        "ss_session_id": facts.session,
        "ss_training_started_at": facts.started,
        "ss_training_finished_at": facts.finished,
        "ss_steps": facts.steps,
        "ss_epoch": facts.epochs,
        "ss_num_epochs": facts.epochs,
        "ss_num_batches_per_epoch": facts.batches_per_epoch,
    }


def _model_keys(facts: RunFacts) -> dict[str, object]:
    """The base model, and how it was computed. LoRA parameters are always float32: never full_fp16."""
    found: dict[str, object] = {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_v2": False,
        "ss_clip_skip": None,
        "ss_zero_terminal_snr": facts.zero_terminal_snr,
        "ss_mixed_precision": facts.precision,
        "ss_full_fp16": False,
        "ss_fp8_base": facts.fp8,
        "ss_fp8_base_unet": False,
        "ss_lowram": False,
    }
    return found if facts.model is None else found | facts.model.metadata()


def _modelspec_keys(
    cached: CachedDataset, config: TrainConfig, facts: RunFacts
) -> dict[str, object]:
    width, height = cached.recipe.buckets.resolution
    finished = datetime.fromtimestamp(facts.finished, tz=timezone.utc)
    found: dict[str, object] = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.implementation_version": f"lora-loop/{VERSION}",
        "modelspec.date": finished.replace(tzinfo=None, microsecond=0).isoformat(),
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.prediction_type": "v" if facts.prediction == "v" else "epsilon",
    }
    first, end = config.loss.min_timestep, config.loss.max_timestep
    if (first, end) != (0, TIMESTEPS):
        found["modelspec.timestep_range"] = f"{first},{end}"
    return found
