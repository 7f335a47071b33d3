"""Set Captions: a STRING list as the captions of a dataset."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..trainer.dataset.dataset import Dataset
from ..trainer.dataset.given_captions import CaptionPlace
from .host.dataset.exchange import set_captions
from .schema import Node, field, node, output
from .sockets import DatasetSocket


class SetCaptions(Node):
    """A STRING list as the captions of a dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "SetCaptions",
            display_name="Set Captions",
            description="Captions from any other node, one for each image, in the dataset's order: "
            "replaced, added, or kept beside those that are there. No file is touched.",
            search_aliases=["captions from list", "vlm captions", "caption variants", "florence"],
            is_input_list=True,
            inputs=[
                field(DatasetSocket, "dataset", "The dataset whose captions change."),
                field(
                    io.String,
                    "captions",
                    "One text for each image, in the dataset's order, as Dataset to Images gives the "
                    "images with maximum 0.",
                    force_input=True,
                ),
                field(
                    io.Combo,
                    "mode",
                    "replace the captions, append or prepend the texts, or add a variant: another line, "
                    "of which Caption Settings draws one at each use (pick_line).",
                    options=list(get_args(CaptionPlace)),
                    default="replace",
                ),
                field(
                    io.String,
                    "separator",
                    "Stands between the old caption and the text.",
                    default=", ",
                    advanced=True,
                ),
            ],
            outputs=[
                output(
                    DatasetSocket, "dataset", "The dataset with new captions; no file is touched."
                ),
                output(io.String, "report", "How many captions changed, and a few of them."),
            ],
        )

    @classmethod
    def execute(
        cls,
        dataset: list[Dataset],
        captions: list[str],
        mode: list[CaptionPlace],
        separator: list[str],
    ) -> io.NodeOutput:
        changed, report = set_captions(dataset[0], captions, mode[0], separator[0])
        return io.NodeOutput(changed, report, ui={"text": [report]})
