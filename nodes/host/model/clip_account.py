"""What of a CLIP changes its encodings besides the weights, and what of it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from transformers import CLIPTokenizer

from .accounts import ENCODERS, TOKENIZERS, VOCABULARY
from .contents import content_digest
from .fingerprint import foreign
from .host_types import Clip

CUTS = 8
"""So many signs in the name of a textual inversion are looked at."""


def unusual(clip: Clip) -> list[tuple[str, object]]:
    """Options of a CLIP, its encoders and its tokenizers that differ from what SDXL's usually are.

    Pairs of a name and a digest of the contents; a freshly loaded CLIP has none.
    """
    found: list[tuple[str, object]] = sorted(getattr(clip, "tokenizer_options", {}).items())
    for part, usual in ((clip.cond_stage_model, ENCODERS), (clip.tokenizer, TOKENIZERS)):
        for name, options in usual.items():
            found += [(f"{name}.{key}", value) for key, value in _differing(part, name, options)]
        found += foreign(part)
    found += foreign(clip)
    return [(name, content_digest(value)) for name, value in found]


def _differing(
    pair: object, name: str, usual: Mapping[str, object]
) -> Iterator[tuple[str, object]]:
    """Options of one encoder or tokenizer that are not the usual ones."""
    part: Any = getattr(pair, name, None)
    if part is None:
        return
    for key, value in usual.items():
        held = getattr(part, key, value)
        if held != value:
            yield key, held
    yield from foreign(part)
    words = getattr(part, "tokenizer", None)
    if words is not None and (not isinstance(words, CLIPTokenizer) or len(words) != VOCABULARY):
        yield "tokenizer", [type(words), len(words)]


def embeddings(clip: Clip, texts: Iterable[str]) -> list[tuple[str, str]]:
    """Textual inversions that texts name, each with a digest of its vectors, in the order of the names.

    A file that is exchanged under its name gives other encodings of the same text.
    """
    mark = "embedding:"
    names = {word for text in texts if mark in text for word in _named(text, mark)}
    found = []
    for name in sorted(names):
        chunks = clip.tokenize(f"{mark}{name}", disable_weights=True)
        vectors = [
            token
            for key in sorted(chunks)
            for chunk in chunks[key]
            for token, *_ in chunk
            if isinstance(token, torch.Tensor)
        ]
        if vectors:
            found.append((name, content_digest(vectors)))
    return found


def _named(text: str, mark: str) -> Iterator[str]:
    """What may be a name behind the mark: a word up to any of its first signs, since captions are cut there."""
    for word in re.findall(rf"{re.escape(mark)}(\S{{1,255}})", text):
        ends = [sign.start() for sign in re.finditer(r"[^\w.\-/\\]", word)][:CUTS]
        yield from filter(None, (word[:end] for end in (*ends, len(word))))


def check_account(clip: Clip) -> None:
    """Refuse a CLIP whose encodings change over a sampling, or that is changed while it is loaded.

    Raises ValueError.
    """
    patcher: Any = clip.patcher
    hooks = getattr(patcher, "forced_hooks", None)
    if hooks is not None and getattr(clip, "use_clip_schedule", False):
        raise ValueError(
            "This CLIP carries hooks with a schedule, which give a caption several encodings over one "
            "sampling. Turn off schedule_clip in Set CLIP Hooks, or take that node out of the line to "
            "here and use it behind Apply LoRA."
        )
    if getattr(patcher, "injections", None):
        raise ValueError(
            "This CLIP carries a LoRA loaded in bypass mode, of which the encodings in the cache would "
            "say nothing. Load that LoRA without bypass, or connect the CLIP from before it."
        )
