"""Datasets merged, made from IMAGE and STRING lists and turned into them, and written as kohya's folders."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..trainer.dataset.dataset import Dataset
from ..trainer.dataset.save_images import dataset_of
from ..trainer.dataset.subsets import merged
from .host import folders
from .host.dataset.exchange import arrays_of, export, images_of
from .schema import field, node, output
from .sockets import DatasetSocket


class MergeDatasets(io.ComfyNode):
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
                output(DatasetSocket, "dataset", "All pictures, in the order of the inputs."),
                output(io.String, "report", "Folders and counts."),
            ],
        )

    @classmethod
    def execute(cls, **datasets: Dataset | None) -> io.NodeOutput:
        given = [dataset for _, dataset in sorted(datasets.items()) if dataset is not None]
        dataset = merged(given)
        report = dataset.report()
        return io.NodeOutput(dataset, report, ui={"text": [report]})


class DatasetFromImages(io.ComfyNode):
    """IMAGE and STRING lists as a dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "DatasetFromImages",
            display_name="Dataset from Images",
            description="Pictures and captions of other nodes as a dataset: batches, lists, and what "
            "ComfyUI's own dataset nodes give. The pictures are kept as PNG files in the output folder.",
            search_aliases=["images to dataset", "image list", "text list"],
            is_input_list=True,
            inputs=[
                field(io.Image, "images", "Pictures: a list, a batch, or a list of batches."),
                field(
                    io.String,
                    "captions",
                    "One caption for each picture, or one for all.",
                    optional=True,
                    force_input=True,
                ),
                field(io.String, "name", "Name of the folder in reports.", default="images"),
                field(
                    io.Int,
                    "repeats",
                    "How often each picture comes in an epoch.",
                    default=1,
                    min=1,
                    max=1000,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The pictures and captions as a dataset."),
                output(io.String, "report", "Number of pictures."),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        name: list[str],
        repeats: list[int],
        captions: list[str] | None = None,
    ) -> io.NodeOutput:
        pictures = arrays_of(images)
        dataset = dataset_of(pictures, captions or [], folders.pictures_root(), name[0], repeats[0])
        report = dataset.report()
        return io.NodeOutput(dataset, report, ui={"text": [report]})


class DatasetToImages(io.ComfyNode):
    """A dataset as IMAGE and STRING lists."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "DatasetToImages",
            display_name="Dataset to Images",
            description="Pictures and captions as lists for other nodes, ComfyUI's own dataset nodes "
            "included. The pictures are in memory at full size: mind the number.",
            search_aliases=["dataset to list", "images from dataset"],
            inputs=[
                field(DatasetSocket, "dataset", "The dataset to take from."),
                field(
                    io.Int,
                    "first",
                    "Which picture to begin with, counted from 1.",
                    default=1,
                    min=1,
                    max=1000000,
                ),
                field(
                    io.Int,
                    "maximum",
                    "At most this many pictures; 0 for all.",
                    default=100,
                    min=0,
                    max=1000000,
                ),
            ],
            outputs=[
                output(
                    io.Image,
                    "images",
                    "One picture each, as a viewer shows it.",
                    is_output_list=True,
                ),
                output(io.String, "captions", "The caption of each.", is_output_list=True),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, dataset: Dataset, first: int, maximum: int) -> io.NodeOutput:
        return io.NodeOutput(*images_of(dataset, first, maximum, cls.hidden.unique_id))


class ExportDataset(io.ComfyNode):
    """A dataset as folders that kohya's scripts read."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ExportDataset",
            display_name="Export Dataset",
            description="Writes a copy of the dataset in kohya's layout (img/10_name, reg/1_name, a .txt "
            "beside each picture) into output/lora_loop/exports. The dataset's own files stay as they are.",
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
    def execute(cls, dataset: Dataset, name: str) -> io.NodeOutput:
        exported = export(dataset, name, cls.hidden.unique_id)
        report = exported.text()
        return io.NodeOutput(str(exported.folder), report, ui={"text": [report]})
