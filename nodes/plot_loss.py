"""Plot Loss: the loss over the steps as an image."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.curves.loss_plot import draw_loss
from ..trainer.curves.measurement import Measurement
from .host.model.vae import to_image
from .schema import Node, field, node, output
from .sockets import LossMapSocket


class PlotLoss(Node):
    """A plot of the training loss."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "PlotLoss",
            display_name="Plot Loss",
            description="Draws the loss of every step (faint) and its moving average, "
            "validations if there are any, and how often timesteps were drawn if not evenly.",
            search_aliases=["loss graph", "training curve"],
            inputs=[
                field(LossMapSocket, "loss", "The losses from Train."),
                field(io.Int, "width", "Pixels.", default=1024, min=256, max=4096),
                field(io.Int, "height", "Pixels.", default=512, min=128, max=4096),
            ],
            outputs=[output(io.Image, "plot", "The plot.")],
        )

    @classmethod
    def execute(cls, loss: dict[str, Any], width: int, height: int) -> io.NodeOutput:
        values = [float(value) for value in loss["loss"]]
        validations = [Measurement(*one) for one in loss.get("validation", [])]
        plot = draw_loss(values, width, height, validations, loss.get("timesteps", []))
        return io.NodeOutput(to_image(plot))
