"""The explicit list of the pack's nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .checkpoints import CheckpointSettings
from .clearing import ClearCache
from .curate import CurateDataset
from .dataset import LoadDataset
from .exchange import DatasetFromImages, DatasetToImages, ExportDataset, MergeDatasets
from .files import SaveCaptions, TidyDataset
from .filters import FilterTags
from .host.training.stop_and_keep import add_routes
from .identity import IdentityTags
from .kohya import ImportKohyaConfig
from .latents import CacheLatents
from .lora import ApplyLora, SaveLora
from .lora_settings import LoraSettings
from .loss_settings import LossSettings
from .monochrome import DetectMonochrome
from .optimiser_settings import OptimiserSettings
from .options import CaptionSettings, DatasetOptions
from .plot import PlotLoss
from .previews import PreviewNode
from .runs import Runs
from .speed_settings import SpeedSettings
from .start import LoadLora
from .tagging import WD14Tag
from .train import Train
from .validation_settings import ValidationSettings

NODES: list[type[io.ComfyNode]] = [
    LoadDataset,
    ImportKohyaConfig,
    DatasetOptions,
    MergeDatasets,
    DatasetFromImages,
    DatasetToImages,
    ExportDataset,
    WD14Tag,
    FilterTags,
    IdentityTags,
    DetectMonochrome,
    CurateDataset,
    SaveCaptions,
    TidyDataset,
    CacheLatents,
    ClearCache,
    LoraSettings,
    OptimiserSettings,
    LossSettings,
    CaptionSettings,
    PreviewNode,
    CheckpointSettings,
    ValidationSettings,
    SpeedSettings,
    Train,
    LoadLora,
    ApplyLora,
    SaveLora,
    PlotLoss,
    Runs,
]


class LoraLoop(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    def __init__(self) -> None:
        super().__init__()
        add_routes()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
