"""WD14 Tag: captions made by a tagger, as values."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..tagger import (
    MERGE_POLICIES,
    NEVER,
    SEPARATOR,
    MergePolicy,
    Provider,
    TagConfig,
    TaggerConfig,
    parse_list,
    parse_replacements,
)
from ..trainer.config.cache import CacheConfig
from ..trainer.dataset.dataset import Dataset
from .host.dataset.tag import model_names, tag_dataset
from .host.model.host_types import Vae
from .schema import Node, field, node, output, setting
from .sockets import BucketSettingsSocket, DatasetSocket


class WD14Tag(Node):
    """Tags images with a WD14 tagger."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "Tag",
            display_name="WD14 Tag",
            description="Tags every image with one of SmilingWolf's WD14 taggers, or with another "
            "ONNX tagger on your disk. Probabilities are remembered by image.",
            search_aliases=[
                "tagger",
                "caption images",
                "danbooru tags",
                "pixai",
                "camie",
                "joytag",
            ],
            inputs=[
                field(DatasetSocket, "dataset", "The images to tag."),
                field(
                    io.Combo,
                    "model",
                    "The tagger. One that is not in models/wd14_tagger is downloaded once.",
                    options=model_names(),
                    default=TaggerConfig.model,
                ),
                setting(
                    TagConfig,
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
                    "skip images that have one.",
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
                    TagConfig,
                    "rating",
                    "Where the rating tag (general, sensitive ...) goes.",
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "remove_underscore",
                    "Write long hair instead of long_hair; kaomoji such as ^_^ are kept.",
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "character_tags_first",
                    "Character names before the general tags.",
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "character_tag_expand",
                    "Write name_(series) as two tags.",
                    advanced=True,
                ),
                field(
                    io.String,
                    "undesired_tags",
                    "Tags never taken, separated by commas or by the caption_separator.",
                    default="",
                    multiline=True,
                    advanced=True,
                ),
                field(
                    io.String,
                    "always_first_tags",
                    "Tags that go to the front when they are there, in this order; separated likewise.",
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
                setting(
                    TaggerConfig,
                    "provider",
                    "Where the tagger runs; auto takes the GPU when onnxruntime has one.",
                    advanced=True,
                ),
                setting(
                    TaggerConfig,
                    "batch_size",
                    "Images at a time; only speed and memory depend on it.",
                    min=1,
                    max=128,
                    advanced=True,
                ),
                setting(
                    TaggerConfig,
                    "model_path",
                    "Instead of model: a tagger's folder or ONNX file, as a full path or below "
                    "models/wd14_tagger.",
                    advanced=True,
                ),
                field(
                    io.String,
                    "caption_separator",
                    "Stands between the tags of a caption, and between those of the lists here.",
                    default=SEPARATOR,
                    advanced=True,
                ),
                setting(
                    TaggerConfig,
                    "fast_decode",
                    "Decode large JPEGs at a fraction of their size: quicker, and a tag near its "
                    "threshold may come or go.",
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "quality",
                    "Where the quality tag (best quality ...) goes; only for taggers that know it, and "
                    "so are the four below.",
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "copyright_threshold",
                    "A series is taken from this probability on; above 1: never.",
                    min=0.0,
                    max=NEVER,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "artist_threshold",
                    "An artist is taken from this probability on; above 1: never.",
                    min=0.0,
                    max=NEVER,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "meta_threshold",
                    "A meta tag (highres ...) is taken from this probability on; above 1: never.",
                    min=0.0,
                    max=NEVER,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "model_threshold",
                    "The name of an image model is taken from this probability on; above 1: never.",
                    min=0.0,
                    max=NEVER,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "own_thresholds",
                    "Use the thresholds that the tagger's authors give for each tag or category; "
                    "categories that are off stay off.",
                    advanced=True,
                ),
                setting(
                    TagConfig,
                    "series_from_characters",
                    "Add the series of each character that is taken, where the tagger's files name "
                    "it (PixAI).",
                    advanced=True,
                ),
                field(
                    io.Vae,
                    "vae",
                    "Makes the latents in the same pass, for Cache Latents to find: each image is "
                    "then decoded once, not twice. The VAE of the SDXL checkpoint.",
                    optional=True,
                ),
                field(
                    BucketSettingsSocket,
                    "bucket_settings",
                    "With vae: the settings that Cache Latents gets from Import kohya Config; without "
                    "them its defaults.",
                    optional=True,
                ),
            ],
            outputs=[
                output(
                    DatasetSocket, "dataset", "The dataset with new captions; no file is touched."
                ),
                output(
                    io.String,
                    "report",
                    "The device that ran, images left out, and the most frequent tags.",
                ),
                output(
                    io.String,
                    "tag frequencies",
                    "All tags with the number of their images, most frequent first, "
                    "separated by tabs.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        dataset: Dataset,
        model: str,
        existing_captions: MergePolicy,
        provider: Provider,
        batch_size: int,
        model_path: str = "",
        fast_decode: bool = False,
        vae: Vae | None = None,
        bucket_settings: CacheConfig | None = None,
        **tagging: Any,
    ) -> io.NodeOutput:
        tagger = TaggerConfig(model, provider, batch_size, model_path, fast_decode)
        tagged = tag_dataset(
            dataset, tagger, _options(**tagging), existing_captions,
            vae=vae, cache=bucket_settings, node_id=cls.hidden.unique_id,
        )  # fmt: skip
        return io.NodeOutput(*tagged, ui={"text": [tagged.report]})


def _options(
    character_tags: bool,
    character_threshold: float,
    undesired_tags: str,
    always_first_tags: str,
    tag_replacement: str,
    caption_separator: str = SEPARATOR,
    **same: Any,
) -> TagConfig:
    """The options from the node's inputs; `same`: those with the names of the options."""
    return TagConfig(
        character_threshold=character_threshold if character_tags else NEVER,
        undesired=parse_list(undesired_tags, caption_separator or SEPARATOR),
        always_first=parse_list(always_first_tags, caption_separator or SEPARATOR),
        replacements=parse_replacements(tag_replacement),
        separator=caption_separator,
        **same,
    )
