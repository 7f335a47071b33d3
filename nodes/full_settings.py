"""Full Tuning Settings: train the model's own weights, whole or in part, instead of a LoRA."""

from __future__ import annotations

from comfy_api.latest import io

from ..trainer.config.lora import LoraConfig, full_config
from ..trainer.sdxl.blocks import parse_alphas
from .schema import Node, field, node, output, setting
from .sockets import LoraSettingsSocket


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
                field(
                    io.Boolean,
                    "attention",
                    "Train the attention layers of the transformers, with the norms before them.",
                    default=True,
                ),
                field(
                    io.Boolean,
                    "feed_forward",
                    "Train the feed-forward layers of the transformers, with the norms before them.",
                    default=True,
                ),
                field(
                    io.Boolean,
                    "residual",
                    "Train residual blocks and samplers: convolutions, norms, and how time and size come in.",
                    default=True,
                ),
                field(
                    io.Boolean,
                    "rest",
                    "Train all else of the UNet: the first and the last convolution, the embeddings of time "
                    "and size, the way into and out of transformers.",
                    default=True,
                    advanced=True,
                ),
                field(
                    io.String,
                    "block_rates",
                    "kohya's block_lr as factors: the learning rate of each of the 23 blocks is multiplied by "
                    "these numbers, separated by commas. At 0 a block is not trained. Empty: 1.",
                    default="",
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "fused_backward",
                    "kohya's fused_backward_pass: each weight is stepped as soon as its gradient is there, so "
                    "that only one gradient is in memory. With Adafactor, AdamW or AdamW8bit, without accumulation.",
                ),
                setting(
                    LoraConfig,
                    "bf16_weights",
                    "Half the memory and disk: what is trained is held in bf16 instead of float32, and rounded "
                    "up or down at random, so that small steps count on average (kohya: full_bf16).",
                ),
            ],
            outputs=[
                output(LoraSettingsSocket, "full settings", "For lora_settings of Train.")
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, block_rates: str, fused_backward: bool, bf16_weights: bool, **parts: bool
    ) -> io.NodeOutput:
        memory = {"fused_backward": fused_backward, "bf16_weights": bf16_weights}
        rates = parse_alphas(block_rates, "block_rates")
        return io.NodeOutput(full_config(parts, block_rates=rates, **memory))
