"""Export to peft: a LoRA as the folder that peft and diffusers read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..trainer.config.checkpoints import Precision
from .host import folders
from .host.lora.peft_folder import CONFIG, export_peft
from .host.made import PEFT_FOLDERS
from .schema import Node, field, node, output
from .sockets import LoraModelSocket


class ExportPeft(Node):
    """A LoRA as a folder of peft's."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ExportPeft",
            display_name="Export to peft",
            description="Writes the LoRA as a peft folder (adapter_model.safetensors and adapter_config.json) "
            "into output/lora_loop/peft. Needs the package peft.",
            search_aliases=["peft", "diffusers", "adapter_config", "adapter_model"],
            is_output_node=True,
            inputs=[
                field(LoraModelSocket, "lora", "The LoRA to write. Plain LoRA only."),
                field(
                    io.String,
                    "name",
                    "Name of the new folder. One that is there is never overwritten.",
                    default="my_lora",
                ),
                field(
                    io.Combo,
                    "precision",
                    "fp16 is what everybody uses; fp32 is exact and twice as large.",
                    options=list(get_args(Precision)),
                    default="fp16",
                ),
            ],
            outputs=[output(io.String, "folder", "Where it was written.")],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        return PEFT_FOLDERS.losses()

    @classmethod
    def execute(cls, lora: Mapping[str, Tensor], name: str, precision: Precision) -> io.NodeOutput:
        folder = export_peft(lora, folders.peft_root(), name, precision)
        PEFT_FOLDERS.add(str(folder), folder.rglob(CONFIG))
        return io.NodeOutput(str(folder), ui={"text": [f"written to {folder}"]})
