"""How often each tag stands beside the trigger, for dropping those most that nearly always do."""

from __future__ import annotations

from collections import Counter

from ..cache.latents import CachedDataset, CachedItem
from ..config.captions import CaptionConfig
from ..dataset.caption_rules import free_tags, share_key
from .embedding_captions import token_pattern


def tag_shares(cached: CachedDataset, default: CaptionConfig, token: str = "") -> dict[str, float]:
    """By key the share, 0 to 1, of the images with the trigger whose captions have a tag.

    Repeats count; images of regularisation and preservation do not. Without a trigger all other images
    count. A tag that holds the trigger has no share, and is so never dropped. ``token``: that of an
    embedding that is trained, a trigger as well. Nothing is counted where no image drops frequent tags.
    """
    items = [item for item in cached.items if not (item.is_reg or item.preserves)]
    if not any((item.options or default).frequent_dropout for item in items):
        return {}
    triggers = {share_key(part) for part in (*cached.dataset.trigger.split(","), token)} - {""}
    finds = [token_pattern(trigger).search for trigger in triggers]
    beside = [item for item in items if _has(item, triggers)] or items
    counts: Counter[str] = Counter()
    for item in beside:
        tags = free_tags(item.caption, item.options or default)
        common = (tag for tag in tags if not any(find(tag) for find in finds))
        counts.update(dict.fromkeys(common, item.repeats))
    total = sum(item.repeats for item in beside)
    return {tag: count / total for tag, count in counts.items()}


def _has(item: CachedItem, triggers: set[str]) -> bool:
    """Whether the caption has a trigger, as a tag or within a sentence."""
    caption = share_key(item.caption)
    return any(trigger in caption for trigger in triggers)
