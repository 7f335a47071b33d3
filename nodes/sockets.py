"""Every socket of the pack: its type string, the Python class that travels, the node that makes it."""

from __future__ import annotations

from typing import Any, NamedTuple

from comfy_api.latest import io

from ..trainer.cache.latents import CachedDataset
from ..trainer.config.cache import CacheConfig
from ..trainer.config.captions import CaptionConfig
from ..trainer.config.checkpoints import CheckpointConfig
from ..trainer.config.embedding import EmbeddingConfig
from ..trainer.config.lora import LoraConfig
from ..trainer.config.loss import LossConfig
from ..trainer.config.optimiser import OptimiserConfig
from ..trainer.config.speed import SpeedConfig
from ..trainer.config.train import TrainConfig
from ..trainer.config.validation import ValidationConfig
from ..trainer.dataset.dataset import Dataset
from ..trainer.lora_files.file import LoraModel
from .host.previews.previewer import PreviewConfig

DatasetSocket = io.Custom("LORA_LOOP_DATASET")
CacheSocket = io.Custom("LORA_LOOP_CACHE")
LoraSettingsSocket = io.Custom("LORA_LOOP_LORA_SETTINGS")
OptimiserSettingsSocket = io.Custom("LORA_LOOP_OPTIMISER_SETTINGS")
LossSettingsSocket = io.Custom("LORA_LOOP_LOSS_SETTINGS")
CaptionSettingsSocket = io.Custom("LORA_LOOP_CAPTION_SETTINGS")
PreviewSettingsSocket = io.Custom("LORA_LOOP_PREVIEW_SETTINGS")
BucketSettingsSocket = io.Custom("LORA_LOOP_BUCKET_SETTINGS")
RunSettingsSocket = io.Custom("LORA_LOOP_RUN_SETTINGS")
CheckpointSettingsSocket = io.Custom("LORA_LOOP_CHECKPOINT_SETTINGS")
ValidationSettingsSocket = io.Custom("LORA_LOOP_VALIDATION_SETTINGS")
SpeedSettingsSocket = io.Custom("LORA_LOOP_SPEED_SETTINGS")
EmbeddingSettingsSocket = io.Custom("LORA_LOOP_EMBEDDING_SETTINGS")
LoraModelSocket = io.Custom("LORA_MODEL")  # ComfyUI's own type
LossMapSocket = io.Custom("LOSS_MAP")  # ComfyUI's own type


class Socket(NamedTuple):
    """One row of the table."""

    kind: Any
    """What inputs and outputs are declared with."""
    carries: type
    producer: str

    @property
    def type(self) -> str:
        """The string by which ComfyUI and saved workflows know it."""
        return str(self.kind.io_type)


SOCKETS = (
    Socket(DatasetSocket, Dataset, "LoraLoopLoadDataset"),
    Socket(CacheSocket, CachedDataset, "LoraLoopCacheLatents"),
    Socket(LoraSettingsSocket, LoraConfig, "LoraLoopLoraSettings"),
    Socket(OptimiserSettingsSocket, OptimiserConfig, "LoraLoopOptimiserSettings"),
    Socket(LossSettingsSocket, LossConfig, "LoraLoopLossSettings"),
    Socket(CaptionSettingsSocket, CaptionConfig, "LoraLoopCaptionSettings"),
    Socket(PreviewSettingsSocket, PreviewConfig, "LoraLoopPreviewSettings"),
    Socket(BucketSettingsSocket, CacheConfig, "LoraLoopImportKohyaConfig"),
    Socket(RunSettingsSocket, TrainConfig, "LoraLoopImportKohyaConfig"),
    Socket(CheckpointSettingsSocket, CheckpointConfig, "LoraLoopCheckpointSettings"),
    Socket(ValidationSettingsSocket, ValidationConfig, "LoraLoopValidationSettings"),
    Socket(SpeedSettingsSocket, SpeedConfig, "LoraLoopSpeedSettings"),
    Socket(EmbeddingSettingsSocket, EmbeddingConfig, "LoraLoopEmbeddingSettings"),
    Socket(LoraModelSocket, LoraModel, "LoraLoopTrain"),
    Socket(LossMapSocket, dict, "LoraLoopTrain"),
)
