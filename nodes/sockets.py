"""Every socket of the pack: its type string, the Python class that travels, the node that makes it."""

from __future__ import annotations

from typing import NamedTuple

from comfy_api.latest import io

from ..trainer.cache.latents import CachedDataset
from ..trainer.config.cache import CacheConfig
from ..trainer.config.captions import CaptionConfig
from ..trainer.config.checkpoints import CheckpointConfig
from ..trainer.config.lora import LoraConfig
from ..trainer.config.loss import LossConfig
from ..trainer.config.optimiser import OptimiserConfig
from ..trainer.config.speed import SpeedConfig
from ..trainer.config.train import TrainConfig
from ..trainer.config.validation import ValidationConfig
from ..trainer.dataset.dataset import Dataset
from ..trainer.lora_files.file import LoraModel
from .host.previews.previewer import PreviewConfig


class Socket(NamedTuple):
    """One row of the table."""

    type: str
    carries: type
    producer: str


SOCKETS = (
    Socket("LORA_LOOP_DATASET", Dataset, "LoraLoopLoadDataset"),
    Socket("LORA_LOOP_CACHE", CachedDataset, "LoraLoopCacheLatents"),
    Socket("LORA_LOOP_LORA_SETTINGS", LoraConfig, "LoraLoopLoraSettings"),
    Socket("LORA_LOOP_OPTIMISER_SETTINGS", OptimiserConfig, "LoraLoopOptimiserSettings"),
    Socket("LORA_LOOP_LOSS_SETTINGS", LossConfig, "LoraLoopLossSettings"),
    Socket("LORA_LOOP_CAPTION_SETTINGS", CaptionConfig, "LoraLoopCaptionSettings"),
    Socket("LORA_LOOP_PREVIEW_SETTINGS", PreviewConfig, "LoraLoopPreviewSettings"),
    Socket("LORA_LOOP_BUCKET_SETTINGS", CacheConfig, "LoraLoopImportKohyaConfig"),
    Socket("LORA_LOOP_RUN_SETTINGS", TrainConfig, "LoraLoopImportKohyaConfig"),
    Socket("LORA_LOOP_CHECKPOINT_SETTINGS", CheckpointConfig, "LoraLoopCheckpointSettings"),
    Socket("LORA_LOOP_VALIDATION_SETTINGS", ValidationConfig, "LoraLoopValidationSettings"),
    Socket("LORA_LOOP_SPEED_SETTINGS", SpeedConfig, "LoraLoopSpeedSettings"),
    Socket("LORA_MODEL", LoraModel, "LoraLoopTrain"),  # ComfyUI's own type
    Socket("LOSS_MAP", dict, "LoraLoopTrain"),  # ComfyUI's own type
)

(
    DatasetSocket,
    CacheSocket,
    LoraSettingsSocket,
    OptimiserSettingsSocket,
    LossSettingsSocket,
    CaptionSettingsSocket,
    PreviewSettingsSocket,
    BucketSettingsSocket,
    RunSettingsSocket,
    CheckpointSettingsSocket,
    ValidationSettingsSocket,
    SpeedSettingsSocket,
    LoraModelSocket,
    LossMapSocket,
) = (io.Custom(socket.type) for socket in SOCKETS)
