"""Import kohya Config: a config.toml of kohya's trainer as everything that Train needs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .host.dataset.kohya_import import ConfigSource, import_kohya, import_stamp
from .host.dataset.page.seen import SHOWN
from .schema import Node, field, node, output
from .sockets import (
    BucketSettingsSocket,
    CaptionSettingsSocket,
    CheckpointSettingsSocket,
    DatasetSocket,
    LoraSettingsSocket,
    LossSettingsSocket,
    OptimiserSettingsSocket,
    PreviewSettingsSocket,
    RunSettingsSocket,
)


class ImportKohyaConfig(Node):
    """A config of kohya's trainer as our settings and dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ImportKohyaConfig",
            display_name="Import kohya Config",
            description="Reads a config.toml of kohya's SDXL LoRA trainer, and its dataset toml if "
            "it has one: images, buckets and every setting come out, and a report of what was "
            "ignored and why.",
            search_aliases=[
                "kohya",
                "kohya_ss",
                "bmaltais",
                "sd-scripts",
                "config.toml",
                "import settings",
            ],
            inputs=[
                field(
                    io.String,
                    "config",
                    "The config.toml, or a settings file (JSON) of kohya_ss for LoRAs: a full path, or a file below "
                    "ComfyUI's input directory.",
                    default="",
                ),
                field(
                    io.String,
                    "dataset_config",
                    "A dataset toml, instead of the one that the config names.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.String,
                    "text",
                    "The text of a config.toml, instead of a file: it travels with the workflow.",
                    default="",
                    multiline=True,
                    advanced=True,
                ),
                field(
                    io.String,
                    "dataset_text",
                    "The text of a dataset toml, instead of a file.",
                    default="",
                    multiline=True,
                    advanced=True,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The images and captions, for Cache Latents."),
                output(
                    BucketSettingsSocket,
                    "bucket settings",
                    "Buckets and flipping, for Cache Latents.",
                ),
                output(
                    RunSettingsSocket,
                    "run settings",
                    "Steps, batch size, seed and everything below that is not connected, for Train.",
                ),
                output(LoraSettingsSocket, "lora settings", "The network's part, for Train."),
                output(OptimiserSettingsSocket, "optimiser settings", "The optimiser's part."),
                output(LossSettingsSocket, "loss settings", "Noise and loss, for Train."),
                output(CaptionSettingsSocket, "caption settings", "The captions' part, for Train."),
                output(
                    PreviewSettingsSocket, "preview settings", "Prompts and cadence, for Train."
                ),
                output(
                    CheckpointSettingsSocket,
                    "checkpoint settings",
                    "Intermediate LoRA files, for Train.",
                ),
                output(
                    io.String,
                    "report",
                    "What was set, what was ignored and why, what is unlike kohya, and the images.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> str | float:
        if None in values.values():  # a linked text, not known yet: always read
            return float("nan")
        return import_stamp(ConfigSource(**values))

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        found = import_kohya(ConfigSource(**values))
        train, report = found.config.train, found.report
        return io.NodeOutput(
            found.dataset, found.config.cache, train, train.lora, train.optimiser, train.loss,
            train.captions, found.previews, found.config.checkpoints, report, ui={"text": [report], SHOWN: [found.page_id]},
        )  # fmt: skip
