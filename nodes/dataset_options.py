"""Dataset Options: options of single folders of a dataset."""

from __future__ import annotations

from typing import Any, get_args

from comfy_api.latest import io

from ..trainer.config.captions import CaptionConfig
from ..trainer.dataset.dataset import Dataset, Interpolation
from ..trainer.dataset.subsets import SubsetConfig, with_options
from .schema import Node, field, node, output, setting
from .sockets import CaptionSettingsSocket, DatasetSocket

UNCHANGED = "as Cache Latents"


FLIPS = {UNCHANGED: None, "on": True, "off": False}


AUTOMATIC = "auto"


class DatasetOptions(Node):
    """Options of one dataset that is then merged with others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "DatasetOptions",
            display_name="Dataset Options",
            description="kohya's subset options for all folders of this dataset: put it behind a Load "
            "Dataset and before Merge Datasets when folders should be treated differently.",
            search_aliases=[
                "subset options",
                "repeats",
                "regularisation",
                "regularization",
                "prior loss weight",
            ],
            inputs=[
                field(DatasetSocket, "dataset", "The dataset whose folders get the options."),
                field(
                    CaptionSettingsSocket,
                    "caption_settings",
                    "Caption settings of these folders, instead of those on Train.",
                    optional=True,
                ),
                setting(
                    SubsetConfig,
                    "repeats",
                    "How often each image comes in an epoch; 0 keeps what the folders say.",
                    min=0,
                    max=1000,
                ),
                setting(
                    SubsetConfig,
                    "role",
                    "What the images are for: as loaded, training, or regularisation.",
                ),
                setting(
                    SubsetConfig,
                    "loss_weight",
                    "Multiplies the loss of these images (kohya's prior_loss_weight for "
                    "regularisation images).",
                    min=0.0,
                    max=100.0,
                    step=0.05,
                ),
                field(
                    io.Combo,
                    "flip",
                    "Also use these images flipped, whatever Cache Latents says.",
                    options=list(FLIPS),
                    default=UNCHANGED,
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "interpolation",
                    "How these images are resized; auto: area when they shrink, else Lanczos.",
                    options=[AUTOMATIC, *get_args(Interpolation)],
                    default=AUTOMATIC,
                    advanced=True,
                ),
                setting(
                    SubsetConfig,
                    "preserve",
                    "The model should keep its own prediction for these images (kohya: "
                    "diff_output_preservation). For regularisation images.",
                    advanced=True,
                ),
            ],
            outputs=[output(DatasetSocket, "dataset", "The dataset with the options.")],
        )

    @classmethod
    def execute(
        cls,
        dataset: Dataset,
        flip: str,
        interpolation: Any,
        caption_settings: CaptionConfig | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        options = SubsetConfig(
            flip=FLIPS[flip],
            interpolation=None if interpolation == AUTOMATIC else interpolation,
            captions=caption_settings,
            **values,
        )
        return io.NodeOutput(with_options(dataset, options))
