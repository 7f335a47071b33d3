"""Scale Blocks: a LoRA stronger or weaker block by block."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io
from torch import Tensor

from .host.lora.tools import scaled
from .schema import Node, field, node, output
from .sockets import LoraModelSocket

BLOCKS = "TE=1, IN4=1, IN5=1, IN7=1, IN8=1, MID=1, OUT0=1, OUT1=1, OUT2=1, OUT3=1, OUT4=1, OUT5=1"


class ScaleBlocks(Node):
    """Multiplies a LoRA by a factor for each block."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ScaleBlocks",
            display_name="Scale LoRA Blocks",
            description="Multiplies what a LoRA does by a factor for each block of SDXL, and shows how much "
            "of it lies in each.",
            search_aliases=["lora block weight", "lbw", "block merge", "layer weights"],
            inputs=[
                field(LoraModelSocket, "lora", "The LoRA to change."),
                field(
                    io.String,
                    "blocks",
                    "Names and factors: TE (both text encoders; TE1, TE2), IN0 to IN8, MID, OUT0 to OUT8, "
                    "ranges such as OUT0-2, ALL. What is not named stays, 0 takes a block out, of two the "
                    "later counts. Or kohya's 12 or 20 numbers.",
                    default=BLOCKS,
                    multiline=True,
                ),
            ],
            outputs=[
                output(LoraModelSocket, "lora", "The changed LoRA, for Save LoRA or Apply LoRA."),
                output(io.String, "report", "By block: layers, share of the change, factor."),
            ],
        )

    @classmethod
    def execute(cls, lora: Mapping[str, Tensor], blocks: str) -> io.NodeOutput:
        made = scaled(lora, blocks)
        return io.NodeOutput(made.lora, made.report, ui={"text": [made.report]})
