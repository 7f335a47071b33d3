"""Export Dataset: a dataset written as kohya's folders."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.dataset.dataset import Dataset
from ..trainer.dataset.export import MANIFEST
from .host.dataset.exchange import export
from .host.made import EXPORTED
from .schema import Node, field, node, output
from .sockets import DatasetSocket


class ExportDataset(Node):
    """A dataset as folders that kohya's scripts read."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ExportDataset",
            display_name="Export Dataset",
            description="Writes a copy of the dataset in kohya's layout (img/10_name, reg/1_name, a .txt "
            "beside each image) into output/lora_loop/exports. The dataset's own files stay as they are.",
            search_aliases=["kohya folder", "save dataset", "copy dataset"],
            is_output_node=True,
            inputs=[
                field(DatasetSocket, "dataset", "The dataset to write."),
                field(
                    io.String,
                    "name",
                    "Name of the new folder. One that is there is never overwritten.",
                    default="dataset",
                ),
            ],
            outputs=[
                output(io.String, "folder", "Where it was written."),
                output(
                    io.String, "report", "What was written, and what kohya's folders cannot say."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        return EXPORTED.losses()

    @classmethod
    def execute(cls, dataset: Dataset, name: str) -> io.NodeOutput:
        exported = export(dataset, name, cls.hidden.unique_id)
        EXPORTED.add(str(exported.folder), [exported.folder / MANIFEST])
        report = exported.text()
        return io.NodeOutput(str(exported.folder), report, ui={"text": [report]})
