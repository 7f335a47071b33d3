"""Resize LoRA: a smaller rank for a finished LoRA."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io
from torch import Tensor

from ..trainer.lora_tools.resize import Size
from .host.lora.tools import resized
from .schema import Node, field, node, output
from .sockets import LoraModelSocket


class ResizeLora(Node):
    """Gives a LoRA a smaller rank."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ResizeLora",
            display_name="Resize LoRA",
            description="Gives a finished LoRA a smaller rank, so that it changes the weights as nearly the "
            "same as that rank allows. The file becomes smaller.",
            search_aliases=["resize_lora", "shrink lora", "lora rank", "svd", "compress lora"],
            inputs=[
                field(LoraModelSocket, "lora", "The LoRA to make smaller. Plain LoRA only."),
                field(
                    io.Int,
                    "rank",
                    "The highest rank that a layer may have. No layer gets a higher one than it has.",
                    default=16,
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
                    "The highest rank of 3 x 3 convolutions. 0: the same.",
                    default=0,
                    min=0,
                    max=1024,
                    advanced=True,
                ),
            ],
            outputs=[
                output(LoraModelSocket, "lora", "The smaller LoRA, for Save LoRA or Apply LoRA."),
                output(
                    io.String,
                    "report",
                    "Rank, layers and size before and after; how far off it is.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, lora: Mapping[str, Tensor], rank: int, energy: float, conv_rank: int
    ) -> io.NodeOutput:
        made = resized(lora, Size(rank, energy, conv_rank), cls.hidden.unique_id)
        return io.NodeOutput(made.lora, made.report, ui={"text": [made.report]})
