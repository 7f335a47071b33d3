"""Dataset Report: which images a training did not learn, found hard or memorised, by their losses."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io
from torch import Tensor

from ..trainer.cache.latents import CachedDataset
from ..trainer.config.measuring import MeasureConfig
from .host.measuring.dataset_report import dataset_report
from .host.model.host_types import Clip, ModelPatcher
from .schema import Node, field, node, output, setting
from .sockets import CacheSocket, LoraModelSocket


class DatasetReport(Node):
    """Measures each image of a training without and with its LoRA, and says which stand out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "DatasetReport",
            display_name="Dataset Report",
            description="Finds images that spoil a training by their losses without and with the LoRA: "
            "never learned, hard, with an odd caption, memorised. The Dataset page flags them.",
            search_aliases=["bad images", "wrong captions", "outliers", "loss by image"],
            is_output_node=True,
            inputs=[
                field(io.Model, "model", "The MODEL that was trained on, without the LoRA."),
                field(io.Clip, "clip", "Encodes the captions, and the empty one."),
                field(CacheSocket, "cache", "What Train was given."),
                field(
                    LoraModelSocket,
                    "lora",
                    "From Train. Its run says which loss, captions and held-out images it had.",
                ),
                setting(
                    MeasureConfig,
                    "timesteps",
                    "Each image is measured once in each of so many parts of the timestep range.",
                    min=2,
                    max=100,
                ),
                setting(
                    MeasureConfig,
                    "seeds",
                    "With the noise of so many seeds: more make the numbers surer and take longer.",
                    min=1,
                    max=100,
                ),
                setting(
                    MeasureConfig,
                    "seed",
                    "The first of these seeds.",
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=False,
                    advanced=True,
                ),
            ],
            outputs=[
                output(
                    io.String, "report", "What stands out and why, then the numbers of all images."
                ),
                output(
                    io.Image,
                    "sheet",
                    "Up to 64 images with caption and reason, the most striking first.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: Clip,
        cache: CachedDataset,
        lora: Mapping[str, Tensor],
        timesteps: int,
        seeds: int,
        seed: int,
    ) -> io.NodeOutput:
        settings, node_id = MeasureConfig(timesteps, seeds, seed), cls.hidden.unique_id
        report, sheet = dataset_report(model, clip, cache, lora, settings, node_id)
        return io.NodeOutput(report, sheet, ui={"text": [report]})
