"""Dataset to Images: a dataset as IMAGE and STRING lists for other nodes."""

from __future__ import annotations

from comfy_api.latest import io

from ..trainer.dataset.dataset import Dataset
from .host.dataset.exchange import images_of
from .schema import Node, field, node, output
from .sockets import DatasetSocket


class DatasetToImages(Node):
    """A dataset as IMAGE and STRING lists."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "DatasetToImages",
            display_name="Dataset to Images",
            description="Images and captions as lists for other nodes, ComfyUI's own dataset nodes "
            "included. The images are in memory at full size: mind the number.",
            search_aliases=["dataset to list", "images from dataset"],
            inputs=[
                field(DatasetSocket, "dataset", "The dataset to take from."),
                field(
                    io.Int,
                    "first",
                    "Which image to begin with, counted from 1.",
                    default=1,
                    min=1,
                    max=1000000,
                ),
                field(
                    io.Int,
                    "maximum",
                    "At most this many images; 0 for all.",
                    default=100,
                    min=0,
                    max=1000000,
                ),
            ],
            outputs=[
                output(
                    io.Image,
                    "images",
                    "One image each, as a viewer shows it.",
                    is_output_list=True,
                ),
                output(io.String, "captions", "The caption of each.", is_output_list=True),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, dataset: Dataset, first: int, maximum: int) -> io.NodeOutput:
        return io.NodeOutput(*images_of(dataset, first, maximum, cls.hidden.unique_id))
