"""Choose Weights: the averaged or the raw weights of a training with a moving average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from .host.lora.weights import Weights, chosen_weights
from .schema import Node, field, node, output
from .sockets import LoraModelSocket


class ChooseWeights(Node):
    """Takes the moving average of a training, or what its last step left."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ChooseWeights",
            display_name="Choose Weights",
            description="After a training with ema_decay: its moving average, or the weights as the last step "
            "left them. Nothing is trained again.",
            search_aliases=["ema", "moving average", "averaged weights", "raw weights"],
            inputs=[
                field(LoraModelSocket, "lora", "From Train, with ema_decay in Optimiser Settings."),
                field(
                    io.Combo,
                    "weights",
                    "averaged: the moving average, which previews show. raw: as the last step left them.",
                    options=list(get_args(Weights)),
                    default="averaged",
                ),
            ],
            outputs=[
                output(
                    LoraModelSocket,
                    "lora",
                    "The LoRA with these weights, for Save LoRA or Apply LoRA.",
                ),
                output(io.String, "report", "Which weights these are."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, lora: Mapping[str, Tensor], weights: Weights) -> io.NodeOutput:
        made = chosen_weights(lora, weights)
        return io.NodeOutput(made.lora, made.report, ui={"text": [made.report]})
