"""Extract LoRA: the difference of two models as a LoRA."""

from __future__ import annotations

from comfy_api.latest import io

from ..trainer.lora_tools.resize import Size
from .host.lora.extract import extracted
from .host.model.host_types import Clip, ModelPatcher
from .schema import Node, field, node, output
from .sockets import LoraModelSocket


class ExtractLora(Node):
    """What one model has that the other has not, as a LoRA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ExtractLora",
            display_name="Extract LoRA",
            description="The LoRA that turns one SDXL model into another as nearly as its rank allows: of two "
            "checkpoints, or of a checkpoint and what other nodes made of it.",
            search_aliases=[
                "extract_lora_from_models",
                "lora from checkpoint",
                "difference",
                "svd",
            ],
            inputs=[
                field(io.Model, "base", "The model to begin with."),
                field(io.Model, "tuned", "The model to arrive at; LoRAs and merges on it count."),
                field(
                    io.Int,
                    "rank",
                    "The highest rank that a layer may have. More is nearer, and a larger file.",
                    default=32,
                    min=1,
                    max=1024,
                ),
                field(
                    io.Float,
                    "energy",
                    "1: every layer gets that rank. Below: each gets the smallest that holds this share of "
                    "its change (squared singular values), such as 0.95.",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.001,
                    round=False,
                ),
                field(
                    io.Int,
                    "conv_rank",
                    "The highest rank of 3 x 3 convolutions. 0: none of the residual blocks.",
                    default=0,
                    min=0,
                    max=1024,
                    advanced=True,
                ),
                field(
                    io.Clip,
                    "base_clip",
                    "For the text encoders too: the CLIP of base.",
                    optional=True,
                ),
                field(io.Clip, "tuned_clip", "The CLIP of tuned.", optional=True),
            ],
            outputs=[
                output(LoraModelSocket, "lora", "The difference, for Save LoRA or Apply LoRA."),
                output(io.String, "report", "Rank, layers and size; how far from tuned it is."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        base: ModelPatcher,
        tuned: ModelPatcher,
        rank: int,
        energy: float,
        conv_rank: int,
        base_clip: Clip | None = None,
        tuned_clip: Clip | None = None,
    ) -> io.NodeOutput:
        made = extracted(
            base, tuned, Size(rank, energy, conv_rank), (base_clip, tuned_clip), cls.hidden.unique_id
        )  # fmt: skip
        return io.NodeOutput(made.lora, made.report, ui={"text": [made.report]})
