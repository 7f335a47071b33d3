"""Merge LoRAs: several LoRAs as one."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io
from torch import Tensor

from .host.lora.tools import merged_loras
from .schema import Node, field, node, output
from .sockets import LoraModelSocket

STRENGTH = {"min": -10.0, "max": 10.0, "step": 0.05}


class MergeLoras(Node):
    """Several LoRAs as one that does what all of them do."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "MergeLoras",
            display_name="Merge LoRAs",
            description="One LoRA that changes the weights as all of these together at their strengths, "
            "exactly. Ranks add up; Resize LoRA makes it smaller again.",
            search_aliases=[
                "merge_lora",
                "combine loras",
                "concat lora",
                "add loras",
                "lora strength",
            ],
            inputs=[
                field(LoraModelSocket, "lora_1", "A LoRA. Plain LoRA only, of any rank."),
                field(io.Float, "strength_1", "How much of lora_1.", default=1.0, **STRENGTH),
                field(LoraModelSocket, "lora_2", "One more LoRA.", optional=True),
                field(io.Float, "strength_2", "How much of lora_2.", default=1.0, **STRENGTH),
                field(LoraModelSocket, "lora_3", "One more LoRA.", optional=True),
                field(io.Float, "strength_3", "How much of lora_3.", default=1.0, **STRENGTH),
                field(LoraModelSocket, "lora_4", "One more LoRA.", optional=True),
                field(io.Float, "strength_4", "How much of lora_4.", default=1.0, **STRENGTH),
            ],
            outputs=[
                output(LoraModelSocket, "lora", "The sum, to be applied at a strength of 1."),
                output(io.String, "report", "Rank, layers and size of each and of the sum."),
            ],
        )

    @classmethod
    def execute(
        cls,
        lora_1: Mapping[str, Tensor],
        lora_2: Mapping[str, Tensor] | None = None,
        lora_3: Mapping[str, Tensor] | None = None,
        lora_4: Mapping[str, Tensor] | None = None,
        **strengths: float,
    ) -> io.NodeOutput:
        loras = (lora_1, lora_2, lora_3, lora_4)
        made = merged_loras([(lora, strengths[f"strength_{n}"]) for n, lora in enumerate(loras, 1)])
        return io.NodeOutput(made.lora, made.report, ui={"text": [made.report]})
