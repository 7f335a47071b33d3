"""Tidy Dataset: the files of a dataset renamed in order, with undo."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.dataset.dataset import Dataset
from ..trainer.renaming.plan import Naming
from ..trainer.renaming.tidy import MODES, Mode
from .host.dataset.tidy import naming_problem, renaming_state, tidy_dataset
from .host.progress import page_text
from .schema import Node, field, node, output, setting
from .sockets import DatasetSocket


class TidyDataset(Node):
    """Gives the files of a DATASET running numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "TidyDataset",
            display_name="Tidy Dataset",
            description="Renames the files of a dataset to running numbers: each image with its "
            "caption, mask and whatever else has its name. Told first, and undone if you want.",
            search_aliases=["rename images", "sequential rename", "number files"],
            is_output_node=True,
            inputs=[
                field(DatasetSocket, "dataset", "The dataset whose files are renamed."),
                field(
                    io.Combo,
                    "mode",
                    "dry run: only tell what would be renamed. rename: do it. undo: take the last "
                    "renaming of these folders back.",
                    options=list(MODES),
                    default="dry run",
                ),
                setting(Naming, "prefix", "What stands before the number in every name."),
                setting(
                    Naming,
                    "start",
                    "The number of the first image in each folder.",
                    min=0,
                    max=1_000_000,
                    advanced=True,
                ),
                setting(
                    Naming,
                    "digits",
                    "Numbers have at least so many digits: 0001.",
                    min=1,
                    max=9,
                    advanced=True,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The same dataset under its new names."),
                output(io.String, "report", "Every file's old and new name."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, prefix: str = Naming.prefix, start: int = Naming.start, digits: int = Naming.digits
    ) -> bool | str:
        return page_text(naming_problem(prefix, start, digits) or "") or True

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        return renaming_state()

    @classmethod
    def execute(
        cls, dataset: Dataset, mode: Mode, prefix: str, start: int, digits: int
    ) -> io.NodeOutput:
        tidied, report = tidy_dataset(dataset, Naming(prefix, start, digits), mode)
        return io.NodeOutput(tidied, report, ui={"text": [report]})
