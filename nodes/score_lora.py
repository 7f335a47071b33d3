"""Score LoRA: how a LoRA does on images, beside another one."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io
from torch import Tensor

from ..trainer.cache.latents import CachedDataset
from ..trainer.config.measuring import MeasureConfig
from .host.measuring.score import Asked, score
from .host.model.host_types import Clip, ModelPatcher
from .schema import Node, field, node, output, setting
from .sockets import CacheSocket, LoraModelSocket


class ScoreLora(Node):
    """The loss of a LoRA on images, before and after."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ScoreLora",
            display_name="Score LoRA",
            description="How a LoRA does on images held out of its training, in numbers: its loss beside that "
            "of another LoRA, such as before Resize LoRA, or of the MODEL alone. Nothing is trained.",
            search_aliases=["validate lora", "compare loras", "held-out loss", "evaluate"],
            is_output_node=True,
            inputs=[
                field(io.Model, "model", "The MODEL that the LoRA was trained on, without it."),
                field(CacheSocket, "cache", "What Train was given; or other images."),
                field(
                    LoraModelSocket,
                    "lora",
                    "The LoRA to score. Its training says which images it held out, and its loss.",
                ),
                field(
                    LoraModelSocket,
                    "compared_with",
                    "The LoRA to compare with. None: the MODEL alone.",
                    optional=True,
                ),
                field(
                    io.Clip,
                    "clip",
                    "For LoRAs with text encoder parts, or where Cache Latents has none.",
                    optional=True,
                ),
                field(
                    io.Float,
                    "strength",
                    "Of both LoRAs.",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                ),
                field(
                    io.Int,
                    "images",
                    "At most so many images. 0: all.",
                    default=16,
                    min=0,
                    max=10000,
                ),
                setting(
                    MeasureConfig,
                    "timesteps",
                    "Each image is measured in so many parts of the timestep range.",
                    min=2,
                    max=100,
                    advanced=True,
                ),
                setting(
                    MeasureConfig,
                    "seeds",
                    "All of it with the noise of so many seeds.",
                    min=1,
                    max=100,
                    advanced=True,
                ),
                setting(
                    MeasureConfig,
                    "seed",
                    "The first of them.",
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=False,
                    advanced=True,
                ),
            ],
            outputs=[output(io.String, "report", "The loss before and after, and its spread.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        cache: CachedDataset,
        lora: Mapping[str, Tensor],
        strength: float,
        images: int,
        timesteps: int,
        seeds: int,
        seed: int,
        compared_with: Mapping[str, Tensor] | None = None,
        clip: Clip | None = None,
    ) -> io.NodeOutput:
        settings = MeasureConfig(timesteps, seeds, seed)
        asked = Asked(lora, compared_with, strength, images)
        report = score(model, clip, cache, asked, settings, cls.hidden.unique_id)
        return io.NodeOutput(report, ui={"text": [report]})
