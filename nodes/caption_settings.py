"""Caption Settings: how captions are read at each training step."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.config.captions import CaptionConfig
from .schema import Node, node, output, setting
from .sockets import CaptionSettingsSocket


class CaptionSettings(Node):
    """What a training step makes of a caption."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "CaptionSettings",
            display_name="Caption Settings",
            description="Shuffling, dropout and wildcards of captions, with kohya's meaning. They work "
            "with the text encoders unloaded: captions are encoded ahead, a stretch of steps at a time.",
            search_aliases=["shuffle caption", "keep tokens", "caption dropout", "wildcards"],
            inputs=[
                setting(
                    CaptionConfig,
                    "shuffle",
                    "Shuffle the tags at every use of a caption (kohya: shuffle_caption).",
                ),
                setting(
                    CaptionConfig,
                    "keep_tokens",
                    "This many tags at the front stay in place and are never dropped: 1 for the "
                    "trigger word.",
                    min=0,
                    max=255,
                ),
                setting(
                    CaptionConfig,
                    "dropout",
                    "Chance of an empty caption (kohya: caption_dropout_rate).",
                    min=0.0,
                    max=1.0,
                    step=0.01,
                ),
                setting(
                    CaptionConfig,
                    "tag_dropout",
                    "Chance of each tag to be left out (kohya: caption_tag_dropout_rate).",
                    min=0.0,
                    max=1.0,
                    step=0.01,
                ),
                setting(
                    CaptionConfig,
                    "dropout_every_n_epochs",
                    "Every caption is empty in each n-th epoch; 0 for never.",
                    min=0,
                    max=1000,
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "keep_tokens_separator",
                    "Tags before this mark (such as ###) stay in front, those behind a second one at "
                    "the end; keep_tokens is then not used.",
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "prefix",
                    "Put before every caption, with a space.",
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "suffix",
                    "Put behind every caption, with a space.",
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "wildcards",
                    "{red|blue} takes one of the words at every use, and a caption of several "
                    "lines one of its lines (kohya: enable_wildcard).",
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "separator",
                    "What separates the tags of a caption.",
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "secondary_separator",
                    "Tags joined by this mark (such as ;;;) are shuffled and dropped as one.",
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "token_warmup_min",
                    "With warm-up: tags shown at the first step.",
                    min=0,
                    max=255,
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "token_warmup_steps",
                    "Show more tags from step to step until all are shown after this many; below 1 a "
                    "fraction of all steps, 0 for no warm-up.",
                    min=0.0,
                    max=1000000.0,
                    step=0.01,
                    round=False,
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "joining",
                    "Tags that were shuffled or dropped are joined by the separator; kohya: by a "
                    "comma, as sd-scripts did until June 2026.",
                    advanced=True,
                    optional=True,
                ),
                setting(
                    CaptionConfig,
                    "pick_line",
                    "A caption of several lines takes one of them at each use; each is encoded once.",
                    advanced=True,
                ),
                setting(
                    CaptionConfig,
                    "frequent_dropout",
                    "Chance of a tag to be left out that stands beside the trigger on all images; rarer "
                    "tags in proportion. The trigger stays (frequency-aware dropout).",
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                ),
            ],
            outputs=[
                output(
                    CaptionSettingsSocket,
                    "caption settings",
                    "For Train, or for Dataset Options where one folder differs.",
                )
            ],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        return io.NodeOutput(CaptionConfig(**values))
