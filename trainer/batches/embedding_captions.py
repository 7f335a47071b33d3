"""The texts that an embedding is trained with: captions that hold its token, or templates around it."""

from __future__ import annotations

import re

from ..cache.latents import CachedDataset, CachedItem
from ..config.captions import CaptionConfig
from ..config.embedding import PLACE, EmbeddingConfig
from ..dataset.caption_rules import Draws, shown_lines

MARK = "embedding:"
"""What ComfyUI has before the name of an embedding in a prompt."""


def token_pattern(token: str) -> re.Pattern[str]:
    """Finds the token as a word of its own, whatever its capitals, with or without ComfyUI's mark."""
    return re.compile(rf"(?<![\w-])(?:{MARK})?{re.escape(token)}(?![\w-])", re.IGNORECASE)


def has_template(item: CachedItem, settings: EmbeddingConfig) -> bool:
    """Whether the text of an image is made from a template; never that of a regularisation image."""
    if not settings.is_on or item.is_reg or item.preserves:
        return False
    return settings.only_templates or not item.caption.strip()


def from_template(settings: EmbeddingConfig, draws: Draws | None = None) -> str:
    """A template with the token; without draws the first one."""
    template = settings.lines[0] if draws is None else draws.choice(settings.lines)
    return template.replace(PLACE, settings.token)


def shown_text(item: CachedItem, settings: EmbeddingConfig) -> str:
    """The text under which a held-out image is measured: its caption, or the first template."""
    return from_template(settings) if has_template(item, settings) else item.caption


def check_token(
    cached: CachedDataset, settings: EmbeddingConfig, captions: CaptionConfig
) -> list[str]:
    """What is odd about captions that do not hold the token, as sentences.

    Raises:
        ValueError: no text would hold it, so that nothing could learn.
    """
    trained = [item for item in cached.items if not (item.is_reg or item.preserves)]
    worded = [item for item in trained if not has_template(item, settings)]
    find = token_pattern(settings.token).search
    bare = [
        item
        for item in worded
        if not any(map(find, shown_lines(item.caption, item.options or captions)))
    ]
    if trained and len(bare) == len(trained):
        raise ValueError(
            f"{settings.title}: no caption that is used holds the token {settings.token}, so it would learn "
            "nothing. Put it into the captions (trigger of Filter Tags), or turn on only_templates. Of several "
            "lines the first one is used, unless pick_line of Caption Settings is on. The first caption: "
            f"{trained[0].caption[:80]!r}."
        )
    if not bare:
        return []
    return [
        f"{len(bare)} of {len(trained)} captions do not hold the token {settings.token}, e.g. that of "
        f"{bare[0].name}: the embedding learns nothing from these images"
    ]
