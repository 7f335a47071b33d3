"""Detect Monochrome: pictures without colour are tagged, left out or weighted down."""

from __future__ import annotations

from comfy_api.latest import io

from ..tagger import MONOCHROME_POLICIES
from ..tagger.monochrome import HUE_THRESHOLD, SATURATION_THRESHOLD
from ..trainer.dataset import Dataset
from .host.monochrome import detect_monochrome
from .schema import field, node, output
from .sockets import DatasetSocket


class DetectMonochrome(io.ComfyNode):
    """Finds greyscale and one-hue pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "DetectMonochrome",
            display_name="Detect Monochrome",
            description="Finds pictures without colour (greyscale) or with one hue (monochrome), so "
            "that the LoRA does not learn grey as part of the style.",
            search_aliases=["greyscale", "grayscale", "lineart"],
            inputs=[
                field(DatasetSocket, "dataset", "The pictures to examine."),
                field(
                    io.Combo,
                    "policy",
                    "tag: add greyscale or monochrome to the caption. exclude: leave the picture "
                    "out. down-weight: keep it with a smaller weight in the loss.",
                    options=list(MONOCHROME_POLICIES),
                    default="tag",
                ),
                field(
                    io.Float,
                    "weight",
                    "Loss weight of such pictures under down-weight.",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                ),
                field(
                    io.Float,
                    "saturation_threshold",
                    "Below this mean saturation (0 to 255) a picture is greyscale.",
                    default=SATURATION_THRESHOLD,
                    min=0.0,
                    max=255.0,
                    step=0.001,
                    round=False,
                    advanced=True,
                ),
                field(
                    io.Float,
                    "hue_threshold",
                    "Below this standard deviation of the hue (0 to 179) it is monochrome.",
                    default=HUE_THRESHOLD,
                    min=0.0,
                    max=180.0,
                    step=0.01,
                    round=False,
                    advanced=True,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The dataset after the policy."),
                output(io.String, "report", "The pictures that were found, with their numbers."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        dataset: Dataset,
        policy: str,
        weight: float,
        saturation_threshold: float,
        hue_threshold: float,
    ) -> io.NodeOutput:
        changed, report = detect_monochrome(
            dataset, policy, weight, (saturation_threshold, hue_threshold), cls.hidden.unique_id
        )
        return io.NodeOutput(changed, report, ui={"text": [report]})
