"""Set Masks: a MASK list as the masks of a dataset."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..trainer.dataset.dataset import Dataset
from .host.dataset.exchange import set_masks
from .host.made import SAVED_IMAGES
from .schema import Node, field, node, output
from .sockets import DatasetSocket


class SetMasks(Node):
    """A MASK list as the masks of a dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "SetMasks",
            display_name="Set Masks",
            description="Masks from any other node, one for each image, in the dataset's order: white "
            "is learned, black is not. They are used when masked is on in Noise and Loss Settings.",
            search_aliases=[
                "masked loss",
                "segment subject",
                "masks from list",
                "sam",
                "remove background",
            ],
            is_input_list=True,
            inputs=[
                field(DatasetSocket, "dataset", "The dataset whose masks change."),
                field(
                    io.Mask,
                    "masks",
                    "One mask for each image, in the dataset's order: a list, a batch, or a list of "
                    "batches. Its size may differ from the image's, its shape not.",
                ),
                field(
                    io.Float,
                    "blur",
                    "Soft edges: how far they reach, in percent of the mask's longer side.",
                    default=0.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                ),
                field(
                    io.Boolean,
                    "invert",
                    "Learn what is black instead of what is white.",
                    default=False,
                ),
            ],
            outputs=[
                output(
                    DatasetSocket, "dataset", "The dataset with masks; the images stay as they are."
                ),
                output(io.String, "report", "How much of the images is learned, and odd masks."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        return SAVED_IMAGES.losses()

    @classmethod
    def execute(
        cls, dataset: list[Dataset], masks: list[Tensor], blur: list[float], invert: list[bool]
    ) -> io.NodeOutput:
        masked, report = set_masks(dataset[0], masks, blur[0], invert[0])
        return io.NodeOutput(masked, report, ui={"text": [report]})
