"""Full Tuning Settings: train the model's own weights, whole or in part, instead of a LoRA."""

from __future__ import annotations

from comfy_api.latest import io

from ..trainer.config.lora import LoraConfig, full_config
from ..trainer.sdxl.blocks import parse_alphas
from .schema import Node, field, node, output
from .sockets import LoraSettingsSocket

PARTS = (
    ("attention", "The attention layers of the transformers, with the norms before them."),
    ("feed_forward", "The feed-forward layers of the transformers, with the norms before them."),
    ("residual", "Residual blocks and samplers: convolutions, their norms and the way in of time and size."),
    ("rest", "All else of the UNet: its first and last convolution, the embeddings of time and size, the "
             "way into and out of transformers."),
)  # fmt: skip
"""Inputs that say whether a part is trained, with their tooltips."""


class FullSettings(Node):
    """Full fine-tuning in place of a LoRA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "FullSettings",
            display_name="Full Tuning Settings",
            description="Full fine-tuning and DreamBooth: Train learns a change of the model's whole weights "
            "instead of a LoRA. The MODEL stays as it is; the result is a difference file, or a checkpoint.",
            search_aliases=["full fine-tuning", "finetune", "dreambooth", "checkpoint training", "sdxl_train"],
            inputs=[
                *(field(io.Boolean, name, text, default=True) for name, text in PARTS),
                field(
                    io.String,
                    "block_rates",
                    "kohya's block_lr as factors: the learning rate of each of the 23 blocks is multiplied by "
                    "these numbers, separated by commas. At 0 a block is not trained. Empty: 1.",
                    default="",
                    advanced=True,
                ),
            ],
            outputs=[
                output(LoraSettingsSocket, "full settings", "For lora_settings of Train.")
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, block_rates: str, **parts: bool) -> io.NodeOutput:
        rates = parse_alphas(block_rates, "block_rates")
        return io.NodeOutput(full_config(parts, rates))
