"""Curate Dataset: copies, blurred, small, cropped and framed images found and, if wanted, left out."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..tagger import CurateConfig
from ..trainer.dataset.dataset import Dataset
from ..trainer.sdxl.buckets import BucketConfig
from .host.dataset.curate import curate_dataset
from .schema import Node, field, node, output, setting
from .sockets import DatasetSocket


class CurateDataset(Node):
    """Finds the images that harm a training."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "CurateDataset",
            display_name="Curate Dataset",
            description="Finds copies, blurred and too small images, extreme shapes and black "
            "bars. Each check reports what it finds or leaves it out; no file is touched.",
            search_aliases=["duplicates", "blurry images", "quality filter", "clean dataset"],
            inputs=[
                field(DatasetSocket, "dataset", "The images to look through."),
                setting(
                    CurateConfig,
                    "near_duplicates",
                    "The same image in another size, compression, brightness or with a slight "
                    "crop. The best one is kept.",
                ),
                setting(
                    CurateConfig,
                    "blurred",
                    "Images that are sharp nowhere: out of focus, shaken, or enlarged before.",
                ),
                setting(
                    CurateConfig,
                    "too_small",
                    "Images that must be enlarged too far to fill their bucket.",
                ),
                setting(
                    CurateConfig,
                    "borders",
                    "Bars of one colour on opposite sides; the report says where to crop.",
                ),
                field(
                    io.Int,
                    "resolution",
                    "The resolution of Cache Latents, which decides what is too small.",
                    default=BucketConfig().resolution[0],
                    min=64,
                    max=4096,
                    step=8,
                ),
                setting(
                    CurateConfig,
                    "exact_duplicates",
                    "The same pixels twice, whatever the file format. The first one is kept.",
                    advanced=True,
                ),
                setting(
                    CurateConfig,
                    "extreme_aspect",
                    "Images so wide or tall that the crop to their bucket takes much of them.",
                    advanced=True,
                ),
                setting(
                    CurateConfig,
                    "agreement_threshold",
                    "Near duplicates show the same in at least this share of the image.",
                    min=0.5,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    CurateConfig,
                    "blur_threshold",
                    "Blurred above this radius in pixels, measured at about 1024 x 1024 pixels.",
                    min=0.1,
                    max=10.0,
                    step=0.05,
                    advanced=True,
                ),
                setting(
                    CurateConfig,
                    "upscale_threshold",
                    "Too small when enlarged by more than this factor.",
                    min=1.0,
                    max=16.0,
                    step=0.05,
                    advanced=True,
                ),
                setting(
                    CurateConfig,
                    "crop_threshold",
                    "Extreme aspect when the crop takes more than this share.",
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    CurateConfig,
                    "border_threshold",
                    "Borders when bars take more than this share.",
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    BucketConfig,
                    "min_reso",
                    "Shortest side of a bucket in pixels, as in Cache Latents.",
                    min=32,
                    max=4096,
                    step=8,
                    advanced=True,
                ),
                setting(
                    BucketConfig,
                    "max_reso",
                    "Longest side of a bucket in pixels, as in Cache Latents.",
                    min=64,
                    max=8192,
                    step=8,
                    advanced=True,
                ),
                setting(
                    BucketConfig,
                    "step",
                    "Sides of buckets are multiples of this, as in Cache Latents.",
                    min=8,
                    max=256,
                    step=8,
                    advanced=True,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The images that are kept, with captions."),
                output(
                    io.Image,
                    "rejects",
                    "Up to 64 of the images that are left out, with the reason; a picture that says so if none is.",
                ),
                output(
                    io.String,
                    "report",
                    "Every finding with its number, threshold and advice, and a number for diversity.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        dataset: Dataset,
        resolution: int,
        min_reso: int,
        max_reso: int,
        step: int,
        **options: Any,
    ) -> io.NodeOutput:
        buckets = BucketConfig(
            (resolution, resolution), min_reso=min_reso, max_reso=max_reso, step=step
        )
        config, node_id = CurateConfig(**options), cls.hidden.unique_id
        kept, rejects, report = curate_dataset(dataset, config, buckets, node_id)
        return io.NodeOutput(kept, rejects, report, ui={"text": [report]})
