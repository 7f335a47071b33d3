"""The explicit list of the pack's nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .apply_lora import ApplyLora
from .cache_latents import CacheLatents
from .caption_settings import CaptionSettings
from .checkpoint_settings import CheckpointSettings
from .choose_weights import ChooseWeights
from .clear_cache import ClearCache
from .compare_loras import CompareLoras
from .curate_dataset import CurateDataset
from .dataset_from_images import DatasetFromImages
from .dataset_options import DatasetOptions
from .dataset_report import DatasetReport
from .dataset_to_images import DatasetToImages
from .detect_monochrome import DetectMonochrome
from .embedding_settings import EmbeddingSettings
from .export_dataset import ExportDataset
from .export_peft import ExportPeft
from .extract_lora import ExtractLora
from .filter_tags import FilterTags
from .find_learning_rate import FindLearningRate
from .full_settings import FullSettings
from .guard import guard
from .host import questions
from .host.dataset.page import routes as dataset_page
from .host.measuring import kept_reports
from .host.pages import run_routes, runs_routes, training_routes
from .identity_tags import IdentityTags
from .import_kohya_config import ImportKohyaConfig
from .load_dataset import LoadDataset
from .load_lora import LoadLora
from .lora_settings import LoraSettings
from .loss_settings import LossSettings
from .make_class_images import MakeClassImages
from .merge_datasets import MergeDatasets
from .merge_loras import MergeLoras
from .optimiser_settings import OptimiserSettings
from .plot_loss import PlotLoss
from .preview_settings import PreviewNode
from .resize_lora import ResizeLora
from .runs import Runs
from .save_captions import SaveCaptions
from .save_embedding import SaveEmbedding
from .save_lora import SaveLora
from .scale_blocks import ScaleBlocks
from .score_lora import ScoreLora
from .score_previews import ScorePreviews
from .set_captions import SetCaptions
from .set_masks import SetMasks
from .speed_settings import SpeedSettings
from .sweep import Sweep
from .sweep_report import SweepReport
from .tag import WD14Tag
from .tidy_dataset import TidyDataset
from .train import Train
from .train_slider import TrainSlider
from .validation_settings import ValidationSettings

NODES: list[type[io.ComfyNode]] = [
    LoadDataset,
    ImportKohyaConfig,
    DatasetOptions,
    MergeDatasets,
    MakeClassImages,
    DatasetFromImages,
    DatasetToImages,
    SetCaptions,
    SetMasks,
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
    FullSettings,
    OptimiserSettings,
    LossSettings,
    CaptionSettings,
    PreviewNode,
    CheckpointSettings,
    ValidationSettings,
    SpeedSettings,
    EmbeddingSettings,
    Sweep,
    FindLearningRate,
    Train,
    TrainSlider,
    ScorePreviews,
    LoadLora,
    ApplyLora,
    SaveLora,
    SaveEmbedding,
    ChooseWeights,
    ResizeLora,
    MergeLoras,
    ScaleBlocks,
    ExtractLora,
    ExportPeft,
    ScoreLora,
    PlotLoss,
    SweepReport,
    CompareLoras,
    DatasetReport,
    Runs,
]


for _node in NODES:
    guard(_node)


class LoraLoop(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    def __init__(self) -> None:
        super().__init__()
        training_routes.add_routes()
        run_routes.add_routes()
        runs_routes.add_routes()
        questions.add_routes()
        dataset_page.add_routes()
        kept_reports.restore()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
