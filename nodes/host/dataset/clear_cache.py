"""The size of the pack's cache: a limit after caching, and clearing by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ....base.gc_pause import collection_paused
from ....base.inside import inside
from ....trainer.cache import latents, masks, texts
from ....trainer.cache.eviction import Cleared, clear, prune
from ....trainer.cache.latents import CachedDataset
from ....trainer.config.captions import CaptionConfig
from ....trainer.files.store import Store
from ..cache_folder import cache_store, small_store
from ..folders import cache_root

CLEARABLE: dict[str, tuple[str, ...] | None] = {
    "all": None,
    "latents": (latents.KIND, masks.KIND),
    "captions": (texts.KIND,),
    "tags": ("tags",),
    "measurements": ("monochrome", "quality"),
}
"""What can be cleared, and the store's kinds of it."""

_GB = 10**9
_MARK = "cleared"


def clear_cache(what: str, unused_days: float, dry_run: bool) -> str:
    """Clear the cache and report files and bytes by kind; trained runs lie elsewhere and stay."""
    with cache_store() as store, small_store() as small:
        done = clear((store, small), CLEARABLE[what], unused_days, dry_run=dry_run)
        if done.files and not dry_run:
            with suppress(OSError):  # the next Queue then finds out what is missing
                inside(store.root / _MARK, store.root, follow=True).touch()
    verb = "would be removed" if dry_run else "removed"
    lines = [f"{_amount(done.files, done.freed)} {verb}"]
    names = {kind: name for name, kinds in CLEARABLE.items() for kind in kinds or ()}
    for kind, (files, size) in sorted(done.removed.items()):
        lines.append(f"  {names.get(kind, kind)}: {_amount(files, size)}")
    if done.in_use:
        lines.append(f"{done.in_use} file(s) stay: another program has them open")
    lines.append(f"{_size(done.left_bytes)} are in {store.root}" + (" now" if dry_run else ""))
    return "\n".join(lines)


def last_cleared() -> int:
    """When the cache was last cleared by hand: what was cached before may be gone."""
    mark = cache_root() / _MARK
    return mark.stat().st_mtime_ns if mark.exists() else 0


@collection_paused()
def keep_within(limit_gb: float, cached: CachedDataset, store: Store) -> str:
    """Bring the store within a limit without touching what ``cached`` needs; a line for the report, or ""."""
    if not limit_gb:
        return ""
    with small_store() as small:
        done = prune((store, small), round(limit_gb * _GB), needed(cached, store))
    return _kept_line(done, limit_gb)


def needed(cached: CachedDataset, store: Store) -> Iterator[Path]:
    """The files that training on ``cached`` reads."""
    for item in cached.items:
        yield store.path(latents.KIND, item.latent_key)
        if item.flipped_key:
            yield store.path(latents.KIND, item.flipped_key)
        if cached.text_fingerprint is None:
            continue
        shown = {*item.texts(CaptionConfig()), *item.texts(CaptionConfig(pick_line=True))}
        for text in sorted(shown):
            yield store.path(texts.KIND, texts.text_key(cached.text_fingerprint, text))


def _kept_line(done: Cleared, limit_gb: float) -> str:
    line = f"cache: {_size(done.left_bytes)} of at most {limit_gb:g} GB"
    if done.files:
        line += f"; {_amount(done.files, done.freed)} removed, used longest ago"
    if done.in_use:
        line += f"; {done.in_use} file(s) stay: another program has them open"
    if done.left_bytes > limit_gb * _GB:
        line += "; what is left is in use"
    return line


def _amount(files: int, size: int) -> str:
    return f"{files} item(s), {_size(size)}"


def _size(size: int) -> str:
    return f"{size / _GB:.2f} GB" if size >= _GB / 10 else f"{size * 1000 / _GB:.1f} MB"
