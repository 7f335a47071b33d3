"""Dataset from Images: IMAGE and STRING lists as a dataset."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..trainer.dataset.save_images import dataset_of
from .host import folders
from .host.dataset.exchange import arrays_of
from .host.made import SAVED_IMAGES
from .schema import Node, field, node, output
from .sockets import DatasetSocket


class DatasetFromImages(Node):
    """IMAGE and STRING lists as a dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "DatasetFromImages",
            display_name="Dataset from Images",
            description="Images and captions of other nodes as a dataset: batches, lists, and what "
            "ComfyUI's own dataset nodes give. The images are kept as PNG files in the output folder.",
            search_aliases=["images to dataset", "image list", "text list"],
            is_input_list=True,
            inputs=[
                field(io.Image, "images", "Images: a list, a batch, or a list of batches."),
                field(
                    io.String,
                    "captions",
                    "One caption for each image, or one for all.",
                    optional=True,
                    force_input=True,
                ),
                field(io.String, "name", "Name of the folder in reports.", default="images"),
                field(
                    io.Int,
                    "repeats",
                    "How often each image comes in an epoch.",
                    default=1,
                    min=1,
                    max=1000,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The images and captions as a dataset."),
                output(io.String, "report", "Number of images."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        return SAVED_IMAGES.losses()

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
        SAVED_IMAGES.add(dataset.fingerprint(), (sample.path for _, sample in dataset.samples()))
        report = dataset.report()
        return io.NodeOutput(dataset, report, ui={"text": [report]})
