"""Load LoRA for Training: where a training starts."""

from __future__ import annotations

from comfy_api.latest import io

from .host.lora.load import load_lora, lora_names, lora_state
from .schema import Node, field, node, output
from .sockets import LoraModelSocket


class LoadLora(Node):
    """Reads a LoRA file as a value, to go on training it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "LoadLora",
            display_name="Load LoRA for Training",
            description="Reads a LoRA file of kohya, OneTrainer, diffusers, peft and others, for Train's "
            "start_from (kohya's network_weights), Apply LoRA or Save LoRA.",
            search_aliases=[
                "network_weights",
                "continue lora",
                "convert lora",
                "peft",
                "diffusers",
            ],
            inputs=[
                field(io.Combo, "name", "A LoRA in models/loras.", options=lora_names()),
            ],
            outputs=[output(LoraModelSocket, "lora", "The LoRA under kohya's names.")],
        )

    @classmethod
    def fingerprint_inputs(cls, name: str) -> str:
        return lora_state(name)

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(load_lora(name))
