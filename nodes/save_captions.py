"""Save Captions: edited captions written beside their images, with a backup."""

from __future__ import annotations

from comfy_api.latest import io

from ..trainer.dataset.dataset import Dataset
from .host.dataset.save_captions import save_captions
from .schema import Node, field, node, output
from .sockets import DatasetSocket


class SaveCaptions(Node):
    """Writes the captions of a DATASET beside its images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "SaveCaptions",
            display_name="Save Captions",
            description="Writes the captions beside the images: only those that changed, with a "
            "backup of every text that is replaced.",
            search_aliases=["write captions", "save tags"],
            is_output_node=True,
            inputs=[field(DatasetSocket, "dataset", "The dataset whose captions are written.")],
            outputs=[
                output(DatasetSocket, "dataset", "The same dataset."),
                output(
                    io.String, "report", "How many files were written and where the backups lie."
                ),
            ],
        )

    @classmethod
    def execute(cls, dataset: Dataset) -> io.NodeOutput:
        report = save_captions(dataset)
        return io.NodeOutput(dataset, report, ui={"text": [report]})
