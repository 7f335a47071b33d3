"""WD14 Tag: captions made by a tagger, as values."""

from __future__ import annotations

from comfy_api.latest import io

from ..tagger import MERGE_POLICIES, PROVIDERS, TagOptions, parse_list, parse_replacements
from ..trainer.dataset import Dataset
from .host.tagging import TagRequest, model_names, tag_dataset
from .schema import field, node, output, setting
from .sockets import DatasetSocket


class WD14Tag(io.ComfyNode):
    """Tags pictures with a WD14 tagger."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "Tag",
            display_name="WD14 Tag",
            description="Tags every picture with one of SmilingWolf's WD14 taggers (ONNX). The "
            "model is downloaded once; probabilities are remembered by picture.",
            search_aliases=["tagger", "caption images", "danbooru tags", "wd14"],
            inputs=[
                field(DatasetSocket, "dataset", "The pictures to tag."),
                field(
                    io.Combo,
                    "model",
                    "The tagger. One that is not in models/wd14_tagger is downloaded once.",
                    options=model_names(),
                    default="wd-swinv2-tagger-v3",
                ),
                setting(
                    TagOptions,
                    "general_threshold",
                    "A tag is taken from this probability on.",
                    min=0.0,
                    max=1.0,
                    step=0.01,
                ),
                field(
                    io.Combo,
                    "existing_captions",
                    "What becomes of captions that are there: append new tags, replace them, or "
                    "skip pictures that have one.",
                    options=list(MERGE_POLICIES),
                    default="append",
                ),
                field(
                    io.Boolean,
                    "character_tags",
                    "Also take names of characters.",
                    default=False,
                    advanced=True,
                ),
                field(
                    io.Float,
                    "character_threshold",
                    "A character's name is taken from this probability on.",
                    default=0.85,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    TagOptions,
                    "rating",
                    "Where the rating tag (general, sensitive ...) goes.",
                    advanced=True,
                ),
                setting(
                    TagOptions,
                    "remove_underscore",
                    "Write long hair instead of long_hair; kaomoji such as ^_^ are kept.",
                    advanced=True,
                ),
                setting(
                    TagOptions,
                    "character_tags_first",
                    "Character names before the general tags.",
                    advanced=True,
                ),
                setting(
                    TagOptions,
                    "character_tag_expand",
                    "Write name_(series) as two tags.",
                    advanced=True,
                ),
                field(
                    io.String,
                    "undesired_tags",
                    "Tags never taken, separated by commas.",
                    default="",
                    multiline=True,
                    advanced=True,
                ),
                field(
                    io.String,
                    "always_first_tags",
                    "Tags that go to the front when they are there, in this order.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.String,
                    "tag_replacement",
                    "source,target;source,target ... applied to the tags that are taken.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "provider",
                    "Where the tagger runs; auto takes the GPU when onnxruntime has one.",
                    options=list(PROVIDERS),
                    default="auto",
                    advanced=True,
                ),
                field(
                    io.Int,
                    "batch_size",
                    "Pictures at a time; only speed and memory depend on it.",
                    default=8,
                    min=1,
                    max=128,
                    advanced=True,
                ),
            ],
            outputs=[
                output(
                    DatasetSocket, "dataset", "The dataset with new captions; no file is touched."
                ),
                output(io.String, "report", "The device that ran, and the tags with their counts."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        dataset: Dataset,
        model: str,
        general_threshold: float,
        existing_captions: str,
        character_tags: bool,
        character_threshold: float,
        undesired_tags: str,
        always_first_tags: str,
        tag_replacement: str,
        provider: str,
        batch_size: int,
        **spelling: bool | str,
    ) -> io.NodeOutput:
        options = TagOptions(
            general_threshold=general_threshold,
            character_threshold=character_threshold if character_tags else None,
            undesired=parse_list(undesired_tags),
            always_first=parse_list(always_first_tags),
            replacements=parse_replacements(tag_replacement),
            **spelling,
        )
        tagged, report = tag_dataset(
            TagRequest(
                dataset, model, options, existing_captions, provider, batch_size,
                cls.hidden.unique_id,
            )
        )  # fmt: skip
        return io.NodeOutput(tagged, report, ui={"text": [report]})
