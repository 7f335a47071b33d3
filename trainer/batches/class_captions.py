"""Captions with the trigger replaced by the word for its class: what the LoRA shall not change."""

from __future__ import annotations

import re

from ..cache.latents import CachedDataset, CachedItem
from ..config.captions import CaptionConfig
from ..config.loss import LossConfig
from ..config.train import TrainConfig
from ..dataset.caption_rules import shown_lines

LONGEST_TRIGGER = 1000
"""Characters: each of its words is looked for at each place of a caption."""


def class_caption(caption: str, trigger: str, word: str) -> str:
    """The caption with every whole trigger replaced by ``word``, whatever its capitals.

    trigger: one, or several separated by commas. A tag of which nothing is left goes; a caption
    without a trigger stays as it is.

    Raises:
        ValueError: the trigger is longer than one can be.
    """
    if len(trigger) > LONGEST_TRIGGER:
        raise ValueError(
            f"the trigger has {len(trigger)} characters, allowed: {LONGEST_TRIGGER}; shorten it"
        )
    names = dict.fromkeys(name for part in trigger.split(",") if (name := part.strip()))
    if not names:
        return caption
    alternatives = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    pattern = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)
    tags = []
    for tag in caption.split(","):
        changed = pattern.sub(lambda _: word, tag)
        if changed == tag:
            tags.append(tag)
        elif changed.strip():
            tags.append(re.sub(" {2,}", " ", changed.rstrip(" ")))
    return ",".join(tags).strip()


def lasting_texts(item: CachedItem, trigger: str, config: TrainConfig) -> list[str]:
    """What is encoded once for all samples of an image: none where they cannot be listed."""
    texts = item.texts(config.captions)
    if config.loss.preservation:
        word = config.loss.preservation_class
        texts += tuple(class_caption(text, trigger, word) for text in texts)
    return list(dict.fromkeys((*texts, *config.slider.others)))


def trigger_notes(cached: CachedDataset, loss: LossConfig, captions: CaptionConfig) -> list[str]:
    """What is said when preservation works against images whose captions hold no trigger."""
    trigger = cached.dataset.trigger
    trained = [item for item in cached.items if not (item.is_reg or item.preserves)]
    missing = sum(
        all(
            class_caption(text, trigger, "") == text
            for text in shown_lines(item.caption, item.options or captions)
        )
        for item in trained
    )
    if not (loss.preservation and missing):
        return []
    return [
        f"preservation: {missing} of {len(trained)} captions do not hold the trigger "
        f"({trigger or 'there is none'}), so the model is held to its own prediction for the very caption "
        "that it shall learn. Put the trigger into every caption (trigger of Filter Tags)."
    ]
