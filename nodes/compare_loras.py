"""Compare LoRAs: the same prompts and seeds with several LoRAs at several strengths."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..tagger import TagConfig, TaggerConfig
from .host.comparing.comparison import comparison
from .host.comparing.lora_list import candidates, state_of
from .host.comparing.loras import compare_loras
from .host.dataset.tag import model_names
from .host.previews.sampling import Models
from .schema import Node, field, node, output
from .sockets import (
    CacheSocket,
    DatasetSocket,
    LoraModelSocket,
    LossSettingsSocket,
    PreviewSettingsSocket,
    ValidationSettingsSocket,
)

STRENGTHS = "0.6, 0.8, 1.0"


class CompareLoras(Node):
    """A labelled sheet of LoRAs and strengths, and a table of their losses."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "CompareLoras",
            display_name="Compare LoRAs",
            description="The same prompts and seeds with every LoRA at every strength, as labelled sheets; with a "
            "cache also their loss on its images, on the same noise, with a dataset the scores of a tagger. The MODEL "
            "is loaded once.",
            search_aliases=["xy plot", "lora strength grid", "checkpoints", "which epoch"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                field(io.Model, "model", "The MODEL to compare on; it is not changed."),
                field(io.Clip, "clip", "Encodes the prompts."),
                field(io.Vae, "vae", "Decodes the images."),
                field(
                    io.String,
                    "files",
                    "One a line: a file in models/loras, the name of a run for all of its LoRAs, or run/file "
                    "as Runs gives them.",
                    default="",
                    multiline=True,
                ),
                field(
                    io.String,
                    "strengths",
                    "Numbers from -10 to 10; 0 is the MODEL alone.",
                    default=STRENGTHS,
                ),
                field(
                    io.String,
                    "prompts",
                    "One a line, with the options of Preview Settings. Empty: those of Preview Settings.",
                    default="",
                    multiline=True,
                ),
                field(
                    io.String,
                    "seeds",
                    "Whole numbers: each prompt is sampled once with each. Empty: the --d of its line, else the "
                    "seed of Preview Settings.",
                    default="1",
                ),
                field(
                    LoraModelSocket,
                    "loras",
                    "LoRAs of Train or Load LoRA for Training, one or a list.",
                    optional=True,
                ),
                field(
                    PreviewSettingsSocket,
                    "preview_settings",
                    "Size, steps, sampler and negative prompt of the images; without it the defaults.",
                    optional=True,
                ),
                field(
                    CacheSocket,
                    "cache",
                    "Images to measure the loss on; without it nothing is measured.",
                    optional=True,
                ),
                field(
                    ValidationSettingsSocket,
                    "validation_settings",
                    "As on Train: only the images that are held out with these settings are measured. Without it "
                    "all are, and those that were trained on flatter a LoRA.",
                    optional=True,
                ),
                field(
                    LossSettingsSocket,
                    "loss_settings",
                    "As on Train: how the loss is made. Without it the defaults.",
                    optional=True,
                ),
                field(
                    DatasetSocket,
                    "dataset",
                    "What the LoRAs were trained on, with its captions: a tagger scores the images as in "
                    "Score Previews. Without it nothing is scored.",
                    optional=True,
                ),
                field(
                    io.Combo,
                    "tagger",
                    "What scores the images, best the one that made the captions. It is downloaded once.",
                    options=model_names(),
                    default=TaggerConfig.model,
                    advanced=True,
                ),
                field(
                    io.Float,
                    "threshold",
                    "An image shows a tag from this probability on.",
                    default=TagConfig.general_threshold,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                ),
                field(
                    io.String,
                    "tagger_path",
                    "A folder with a tagger or its ONNX file, instead of tagger.",
                    default="",
                    advanced=True,
                ),
            ],
            outputs=[
                output(
                    io.Image,
                    "sheets",
                    "One for each prompt: LoRAs below, strengths beside each other.",
                ),
                output(
                    io.String,
                    "table",
                    "LoRAs and strengths with their losses and scores, and what these tell.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, files: list[str] | None = None, **_: Any) -> str:
        return state_of("\n".join(files or []))

    @classmethod
    def execute(cls, **lists: list[Any]) -> io.NodeOutput:
        loras = lists.pop("loras", [])
        one: dict[str, Any] = {name: found[0] for name, found in lists.items() if found}
        models = Models(one.pop("model"), one.pop("clip"), one.pop("vae"))
        chosen = candidates("\n".join(lists.get("files", [])), loras)
        one.pop("files", None)
        one["model"], one["model_path"] = one.pop("tagger"), one.pop("tagger_path")
        found = compare_loras(models, comparison(chosen, **one), cls.hidden.unique_id)
        return io.NodeOutput(found.sheets, found.table, ui={"text": [found.table]})
