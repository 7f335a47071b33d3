"""Sweep Report: what several trainings came to, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io
from torch import Tensor

from .host.comparing.sweep import sweep_report
from .host.model.vae import to_image
from .schema import Node, field, node, output
from .sockets import LoraModelSocket


class SweepReport(Node):
    """A table and the curves of the runs of a sweep."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "SweepReport",
            display_name="Sweep Report",
            description="A table of the held-out loss of several trainings with its spread, their curves "
            "over each other, and whether two settings differ by more than two seeds do.",
            search_aliases=["grid search", "compare runs", "hyperparameters"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                field(
                    LoraModelSocket,
                    "loras",
                    "lora of Train behind Sweep, or a list of LoRAs of several Train nodes.",
                ),
            ],
            outputs=[
                output(io.String, "report", "The table, how it was made, and what it says."),
                output(io.Image, "curves", "The held-out loss of each run over its steps."),
                output(
                    LoraModelSocket,
                    "best",
                    "The LoRA with the lowest held-out loss; its best step where keep_best is on.",
                ),
            ],
        )

    @classmethod
    def execute(cls, loras: list[Mapping[str, Tensor]]) -> io.NodeOutput:
        found = sweep_report(loras)
        outputs = found.text, to_image(found.curves), found.best
        return io.NodeOutput(*outputs, ui={"text": [found.text]})
