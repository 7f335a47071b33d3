"""WD14 Tag, Filter Tags, Detect Monochrome: captions made and cleaned, as values."""

from __future__ import annotations

from comfy_api.latest import io

from ..tagger import (
    MERGE_POLICIES,
    MONOCHROME_POLICIES,
    PROVIDERS,
    FilterOptions,
    TagOptions,
    parse_list,
    parse_replacements,
)
from ..tagger.monochrome import HUE_THRESHOLD, SATURATION_THRESHOLD
from ..trainer.dataset import Dataset
from .host.captions import detect_monochrome, filter_dataset
from .host.tagging import TagRequest, model_names, tag_dataset
from .schema import field, node, output, setting
from .sockets import DatasetSocket

REPORT = "What was done, with counts."


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


class FilterTags(io.ComfyNode):
    """Rules on tag captions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "FilterTags",
            display_name="Filter Tags",
            description="Trigger word first, tags removed, replaced or kept at the front. Whole "
            "tags only: braid never touches braided hair. No file is changed.",
            search_aliases=["clean tags", "remove tags", "trigger word"],
            inputs=[
                field(DatasetSocket, "dataset", "The dataset whose captions are filtered."),
                field(
                    io.String,
                    "trigger",
                    "The word that will call your character or style: first in every caption, once.",
                    default="",
                ),
                field(
                    io.String,
                    "remove",
                    "Tags to take out, separated by commas; * stands for any text (*_hair).",
                    default="",
                    multiline=True,
                ),
                field(
                    io.String,
                    "replace",
                    "source,target;source,target ... whole tags; * in a source stands for any text.",
                    default="",
                    multiline=True,
                    advanced=True,
                ),
                field(
                    io.String,
                    "keep_first",
                    "Tags that go to the front (behind the trigger) when they are there.",
                    default="",
                    advanced=True,
                ),
                setting(
                    FilterOptions,
                    "minimum_count",
                    "Tags in fewer pictures than this are dropped.",
                    min=1,
                    max=10000,
                    advanced=True,
                ),
                field(
                    io.Int,
                    "maximum_tags",
                    "At most this many tags a caption; 0 for no limit.",
                    default=0,
                    min=0,
                    max=1000,
                    advanced=True,
                ),
            ],
            outputs=[
                output(DatasetSocket, "dataset", "The dataset with the filtered captions."),
                output(
                    io.String, "report", "Every caption that changed, before and after, and totals."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        dataset: Dataset,
        trigger: str,
        remove: str,
        replace: str,
        keep_first: str,
        minimum_count: int,
        maximum_tags: int,
    ) -> io.NodeOutput:
        options = FilterOptions(
            trigger=trigger.strip(),
            remove=parse_list(remove),
            replace=parse_replacements(replace),
            keep_first=parse_list(keep_first),
            minimum_count=minimum_count,
            maximum_tags=maximum_tags or None,
        )
        filtered, report = filter_dataset(dataset, options)
        return io.NodeOutput(filtered, report, ui={"text": [report]})


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
