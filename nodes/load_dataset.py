"""Load Dataset: a folder of images and captions in."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .host.dataset.load import LoadConfig, folder_problem, folder_stamp, load_dataset
from .host.dataset.page.seen import SHOWN
from .host.model.vae import to_image
from .host.progress import page_text
from .schema import Node, node, output, setting
from .sockets import DatasetSocket


class LoadDataset(Node):
    """A folder of images and captions as a DATASET."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "LoadDataset",
            display_name="Load Dataset",
            description="Reads a folder of images with their captions. Any folder will do; "
            "sub-folders named like 10_name count as kohya's repeats.",
            search_aliases=[
                "load images folder",
                "training dataset",
                "kohya dataset",
                "regularisation",
                "regularization",
            ],
            inputs=[
                setting(
                    LoadConfig,
                    "folder",
                    "Folder of images (png, jpg, webp, bmp, avif) with .txt captions beside "
                    "them: a full path, or a folder below ComfyUI's input directory.",
                    optional=False,
                ),
                setting(
                    LoadConfig,
                    "repeats",
                    "How often each image comes in an epoch. Folders named 10_name bring their own.",
                    min=1,
                    max=1000,
                ),
                setting(
                    LoadConfig,
                    "regularisation_folder",
                    "Optional folder of regularisation images (kohya's reg_data_dir).",
                    advanced=True,
                ),
                setting(
                    LoadConfig,
                    "caption_extension",
                    "Ending of the caption files.",
                    advanced=True,
                ),
                setting(
                    LoadConfig,
                    "recursive",
                    "Also read sub-folders without a number, of any depth.",
                    advanced=True,
                ),
                setting(
                    LoadConfig,
                    "caption_lines",
                    "Which lines of a caption file are its caption: the first, or all that are not "
                    "empty (kohya's enable_wildcard, which shows one of them at random).",
                    advanced=True,
                ),
            ],
            outputs=[
                output(
                    DatasetSocket,
                    "dataset",
                    "The images and captions, as values: no file is touched.",
                ),
                output(io.Image, "contact sheet", "Up to 64 thumbnails of the images."),
                output(
                    io.String,
                    "report",
                    "Folders, counts, and the files that were left out and why.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: str) -> bool | str:
        return page_text(folder_problem(folder) or "") or True

    @classmethod
    def fingerprint_inputs(cls, folder: str, **options: Any) -> str:
        return "" if folder_problem(folder) else folder_stamp(LoadConfig(folder, **options))

    @classmethod
    def execute(cls, folder: str, **options: Any) -> io.NodeOutput:
        config = LoadConfig(folder, **options)
        dataset, sheet = load_dataset(config)
        report = dataset.report()
        ui = {"text": [report], SHOWN: [config.page_id()]}
        return io.NodeOutput(dataset, to_image(sheet), report, ui=ui)
