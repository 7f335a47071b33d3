"""Apply LoRA: a LoRA on a MODEL and a CLIP, from memory."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io
from torch import Tensor

from .host.lora.apply import apply_lora
from .host.model.host_types import Clip, ModelPatcher
from .schema import Node, field, node, output
from .sockets import LoraModelSocket

STRENGTH = 0.8


class ApplyLora(Node):
    """Puts a LoRA from memory on a MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ApplyLora",
            display_name="Apply LoRA",
            description="Puts a trained LoRA on the MODEL without a file in between.",
            search_aliases=["load lora from memory", "test lora"],
            inputs=[
                field(io.Model, "model", "The MODEL to put it on."),
                field(
                    LoraModelSocket,
                    "lora",
                    "A LoRA from Train, Load LoRA for Training, or ComfyUI's own trainer.",
                ),
                field(
                    io.Clip, "clip", "Only needed for LoRAs with text encoder parts.", optional=True
                ),
                field(
                    io.Float,
                    "strength",
                    "0.8 is a good test; 0 passes the MODEL through untouched.",
                    default=STRENGTH,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                ),
            ],
            outputs=[
                output(io.Model, "model", "The MODEL with the LoRA."),
                output(io.Clip, "clip", "The CLIP with the LoRA, if one was given."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        lora: Mapping[str, Tensor],
        strength: float,
        clip: Clip | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(*apply_lora(model, clip, lora, strength))
