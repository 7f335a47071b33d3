"""The explicit list of the pack's nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .curate import CurateDataset
from .dataset import LoadDataset
from .files import SaveCaptions
from .filters import FilterTags
from .latents import CacheLatents
from .lora import ApplyLora, SaveLora
from .monochrome import DetectMonochrome
from .plot import PlotLoss
from .previews import PreviewNode
from .settings import LoraSettings, LossSettings, OptimiserSettings
from .tagging import WD14Tag
from .train import Train

NODES: list[type[io.ComfyNode]] = [
    LoadDataset,
    WD14Tag,
    FilterTags,
    DetectMonochrome,
    CurateDataset,
    SaveCaptions,
    CacheLatents,
    LoraSettings,
    OptimiserSettings,
    LossSettings,
    PreviewNode,
    Train,
    ApplyLora,
    SaveLora,
    PlotLoss,
]


class LoraLoop(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
