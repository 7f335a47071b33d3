"""Detect Monochrome: images without colour are tagged, left out or weighted down."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..tagger import MONOCHROME_POLICIES, MonochromeConfig, MonochromePolicy
from ..trainer.dataset.dataset import Dataset
from .host.dataset.monochrome import detect_monochrome
from .schema import Node, field, node, output, setting
from .sockets import DatasetSocket


class DetectMonochrome(Node):
    """Finds greyscale and one-hue images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "DetectMonochrome",
            display_name="Detect Monochrome",
            description="Finds images without colour (greyscale) or with one hue (monochrome), so "
            "that the LoRA does not learn grey as part of the style.",
            search_aliases=["greyscale", "grayscale", "lineart"],
            inputs=[
                field(DatasetSocket, "dataset", "The images to examine."),
                field(
                    io.Combo,
                    "policy",
                    "tag: add greyscale or monochrome to the caption. exclude: leave the image "
                    "out. down-weight: keep it with a smaller weight in the loss.",
                    options=list(MONOCHROME_POLICIES),
                    default="tag",
                ),
                field(
                    io.Float,
                    "weight",
                    "Loss weight of such images under down-weight.",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                ),
                setting(
                    MonochromeConfig,
                    "saturation_threshold",
                    "hsv: below this mean saturation (0 to 255) an image is greyscale.",
                    min=0.0,
                    max=255.0,
                    step=0.001,
                    round=False,
                    advanced=True,
                ),
                setting(
                    MonochromeConfig,
                    "hue_threshold",
                    "hsv: below this standard deviation of the hue (0 to 179) it is monochrome.",
                    min=0.0,
                    max=180.0,
                    step=0.01,
                    round=False,
                    advanced=True,
                ),
                setting(
                    MonochromeConfig,
                    "method",
                    "hsv: exact greys and single hues, on all pixels. lab: also yellowed paper, sepia "
                    "and scans with colour noise.",
                ),
                setting(
                    MonochromeConfig,
                    "chroma_threshold",
                    "lab: an image is coloured when 1 % of it has this much chroma beside the tint.",
                    min=0.0,
                    max=150.0,
                    step=0.5,
                    advanced=True,
                ),
                setting(
                    MonochromeConfig,
                    "tint_limit",
                    "lab: from this strength on a single tint is a colour.",
                    min=0.0,
                    max=150.0,
                    step=1.0,
                    advanced=True,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The dataset after the policy."),
                output(io.String, "report", "The images that were found, with their numbers."),
                output(
                    io.String, "table", "The numbers of all images: a line each, tab separated."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, dataset: Dataset, policy: MonochromePolicy, weight: float, **options: Any
    ) -> io.NodeOutput:
        changed, report, table = detect_monochrome(
            dataset, MonochromeConfig(**options), policy, weight, cls.hidden.unique_id
        )
        return io.NodeOutput(changed, report, table, ui={"text": [report]})
