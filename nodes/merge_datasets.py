"""Merge Datasets: several datasets as one."""

from __future__ import annotations

from comfy_api.latest import io

from ..trainer.dataset.dataset import Dataset
from ..trainer.dataset.subsets import merged
from .schema import Node, field, node, output
from .sockets import DatasetSocket


class MergeDatasets(Node):
    """Several datasets as one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "MergeDatasets",
            display_name="Merge Datasets",
            description="Several datasets as one. Every folder keeps its repeats and options.",
            search_aliases=["combine datasets", "several folders", "subsets"],
            inputs=[
                field(DatasetSocket, "dataset_1", "The first dataset."),
                field(DatasetSocket, "dataset_2", "The second dataset."),
                field(DatasetSocket, "dataset_3", "One more dataset.", optional=True),
                field(DatasetSocket, "dataset_4", "One more dataset.", optional=True),
                field(DatasetSocket, "dataset_5", "One more dataset.", optional=True),
                field(DatasetSocket, "dataset_6", "One more dataset.", optional=True),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "All images, in the order of the inputs."),
                output(io.String, "report", "Folders and counts."),
            ],
        )

    @classmethod
    def execute(cls, **datasets: Dataset | None) -> io.NodeOutput:
        given = [dataset for _, dataset in sorted(datasets.items()) if dataset is not None]
        dataset = merged(given)
        report = dataset.report()
        return io.NodeOutput(dataset, report, ui={"text": [report]})
