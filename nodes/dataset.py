"""Load Dataset: a folder of pictures and captions in."""

from __future__ import annotations

import math
from typing import Any

from comfy_api.latest import io

from ..trainer.folders import folder_stamp
from ..trainer.images import contact_sheet
from ..trainer.scan import scan_folder
from .host import folders
from .host.files import file_index
from .host.images import to_image
from .schema import field, node, output
from .sockets import DatasetSocket


class LoadDataset(io.ComfyNode):
    """A folder of pictures and captions as a DATASET."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "LoadDataset",
            display_name="Load Dataset",
            description="Reads a folder of pictures with their captions. Any folder will do; "
            "sub-folders named like 10_name count as kohya's repeats.",
            search_aliases=["load images folder", "training dataset", "kohya dataset"],
            inputs=[
                field(
                    io.String,
                    "folder",
                    "Folder of pictures (png, jpg, webp, bmp) with .txt captions beside them: a "
                    "full path, or a folder below ComfyUI's input directory.",
                    default="lora_loop_example",
                ),
                field(
                    io.Int,
                    "repeats",
                    "How often each picture comes in an epoch. Folders named 10_name bring their own.",
                    default=1,
                    min=1,
                    max=1000,
                ),
                field(
                    io.String,
                    "regularisation_folder",
                    "Optional folder of regularisation pictures (kohya's reg_data_dir).",
                    default="",
                    advanced=True,
                ),
                field(
                    io.String,
                    "caption_extension",
                    "Ending of the caption files.",
                    default=".txt",
                    advanced=True,
                ),
            ],
            outputs=[
                output(
                    DatasetSocket,
                    "dataset",
                    "The pictures and captions, as values: no file is touched.",
                ),
                output(io.Image, "contact sheet", "Up to 64 thumbnails of the pictures."),
                output(
                    io.String,
                    "report",
                    "Folders, counts, and the files that were left out and why.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: str) -> bool | str:
        return _folder_problem(folder)

    @classmethod
    def fingerprint_inputs(
        cls, folder: str, regularisation_folder: str, caption_extension: str, **_: Any
    ) -> str:
        if _folder_problem(folder) is not True:
            return ""
        reg = regularisation_folder.strip()
        return folder_stamp(
            folders.dataset_folder(folder),
            folders.dataset_folder(reg) if reg else None,
            caption_extension,
        )

    @classmethod
    def execute(
        cls, folder: str, repeats: int, regularisation_folder: str, caption_extension: str
    ) -> io.NodeOutput:
        reg = regularisation_folder.strip()
        with file_index() as index:
            dataset = scan_folder(
                folders.dataset_folder(folder),
                reg_root=folders.dataset_folder(reg) if reg else None,
                caption_extension=caption_extension,
                repeats=repeats,
                index=index,
            )
        pictures = [sample.path for _, sample in dataset.samples()]
        sheet = contact_sheet(pictures, min(8, math.ceil(math.sqrt(len(pictures)))))
        report = dataset.report()
        return io.NodeOutput(dataset, to_image(sheet), report, ui={"text": [report]})


def _folder_problem(folder: str | None) -> bool | str:
    """True, or the sentence that says what is wrong; None comes from a linked input."""
    try:
        if folder is not None:
            folders.dataset_folder(folder)
    except ValueError as problem:
        return str(problem)
    return True
