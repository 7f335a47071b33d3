"""LoRA Settings: size, scale and regularisation of the adapters, everywhere or block by block."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.config.lora import LoraConfig
from ..trainer.sdxl.blocks import parse_alphas, parse_ranks, rate_weights
from .schema import Node, field, node, output, setting
from .sockets import LoraSettingsSocket

BY_BLOCK = {
    "block_ranks": parse_ranks,
    "block_alphas": parse_alphas,
    "conv_block_ranks": parse_ranks,
    "conv_block_alphas": parse_alphas,
}
"""Inputs that hold 23 numbers as text."""


class LoraSettings(Node):
    """Size and scale of the LoRA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "LoraSettings",
            display_name="LoRA Settings",
            description="Rank and alpha of the LoRA (kohya: network_dim, network_alpha), dropout, and "
            "what differs from block to block.",
            search_aliases=[
                "network dim",
                "dropout",
                "block weights",
                "rslora",
                "lora+",
                "loha",
                "lokr",
                "oft",
                "boft",
                "t-lora",
                "dora",
            ],
            inputs=[
                setting(
                    LoraConfig,
                    "rank",
                    "How much the LoRA can hold: 8 to 16 for a character, 32 for a style. The file "
                    "and the memory grow with it.",
                    min=1,
                    max=1024,
                ),
                setting(
                    LoraConfig,
                    "alpha",
                    "The LoRA is scaled by alpha / rank: equal to rank means no scaling.",
                    min=0.01,
                    max=1024.0,
                    step=0.01,
                ),
                setting(
                    LoraConfig,
                    "conv_rank",
                    "Also adapt 3x3 convolutions with this rank (kohya's conv_dim); 0 turns it off.",
                    min=0,
                    max=1024,
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "conv_alpha",
                    "Alpha of the convolutions' adapters.",
                    min=0.01,
                    max=1024.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "rank_stabilised",
                    "rsLoRA: scale by alpha / square root of rank. The saved alpha includes it, "
                    "so the file loads anywhere.",
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "dropout",
                    "kohya's network_dropout: this share of the inner values is left out at random.",
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "rank_dropout",
                    "This share of the ranks is left out at random, for each image and layer.",
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "module_dropout",
                    "This share of the layers goes without the LoRA at random, for each image.",
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "loraplus_ratio",
                    "LoRA+: up factors learn this many times faster, 16 in its paper; 0 turns it off.",
                    min=0.0,
                    max=1000.0,
                    step=0.1,
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "max_norm",
                    "kohya's scale_weight_norms: no layer is changed by more than this; 1 is usual, 0 "
                    "turns it off.",
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    advanced=True,
                ),
                field(
                    io.String,
                    "block_ranks",
                    "kohya's block_dims: a rank for each of the 23 blocks, separated by commas. Empty: rank.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.String,
                    "block_alphas",
                    "An alpha for each of the 23 blocks. Empty: alpha.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.String,
                    "conv_block_ranks",
                    "kohya's conv_block_dims: the ranks of 3x3 convolutions by block. Empty: conv_rank.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.String,
                    "conv_block_alphas",
                    "The alphas of 3x3 convolutions by block. Empty: conv_alpha.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.String,
                    "down_lr_weight",
                    "Multipliers for the learning rates of the 9 input blocks, separated by commas, or cosine, sine, "
                    "linear, reverse_linear, zeros, such as sine+.25. At 0 there is no LoRA. Empty: 1.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.String,
                    "mid_lr_weight",
                    "The same for the 3 middle blocks, as numbers.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.String,
                    "up_lr_weight",
                    "Like down_lr_weight, for the 9 output blocks.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.Float,
                    "block_lr_zero_threshold",
                    "Multipliers at or below this are treated as 0.",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "algorithm",
                    "What a layer's change is made of: lora, LyCORIS' loha and lokr, which need the "
                    "package lycoris-lora, or a turn of its outputs: oft, boft.",
                    options=["lora", "loha", "lokr", "oft", "boft"],
                    default=LoraConfig().algorithm,
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "dora",
                    "DoRA: also train the lengths of the weights' columns. Slower; not with oft and boft.",
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "lokr_factor",
                    "LyCORIS' factor of lokr: small numbers make a large file, -1 a small one.",
                    min=-1,
                    max=1024,
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "dim_from_weights",
                    "Take layers, ranks and alphas from the LoRA at Train's start_from, instead of "
                    "from the settings here.",
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "full_matrix",
                    "LyCORIS' full_matrix: lokr keeps its second matrix whole, whatever the rank, and "
                    "nothing is scaled. lokr_factor alone decides the size then.",
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "layers",
                    "Which layers are adapted. standard: transformers, and resnets with conv_rank; attention; "
                    "linear: also those of resnets; resnets alone.",
                    advanced=True,
                ),
                setting(
                    LoraConfig,
                    "least_rank",
                    "T-LoRA, for one to five images: the noisiest timestep trains only so many ranks, the "
                    "last one all. 0 turns it off.",
                    min=0,
                    max=1024,
                    advanced=True,
                ),
            ],
            outputs=[output(LoraSettingsSocket, "lora settings", "For Train.")],
        )

    @classmethod
    def execute(
        cls,
        down_lr_weight: str,
        mid_lr_weight: str,
        up_lr_weight: str,
        block_lr_zero_threshold: float,
        **values: Any,
    ) -> io.NodeOutput:
        for name, parse in BY_BLOCK.items():
            values[name] = parse(values[name], name)
        rates = rate_weights(down_lr_weight, mid_lr_weight, up_lr_weight, block_lr_zero_threshold)
        return io.NodeOutput(LoraConfig(**values, block_rates=rates))
