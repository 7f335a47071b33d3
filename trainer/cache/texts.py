"""Encoded captions on disk, by content: one entry per text and text encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..files.digests import digest
from ..files.store import Store

KIND = "text"


Encode = Callable[[str], tuple[Tensor, Tensor]]
"""A caption -> context [T, C] and pooled [P]."""


def text_key(fingerprint: str, caption: str) -> str:
    """The store key of a caption under the text encoders with this fingerprint."""
    return digest(KIND, fingerprint, caption)


def cache_texts(
    captions: Iterable[str],
    encode: Encode,
    store: Store,
    fingerprint: str,
    on_text: Callable[[int, int], None] | None = None,
) -> int:
    """Encode every caption that the store does not hold yet; returns how many were encoded.

    Raises ValueError naming the caption when its encoding is not finite.
    """
    missing = [
        text for text in dict.fromkeys(captions) if not store.has(KIND, text_key(fingerprint, text))
    ]
    for done, text in enumerate(missing, 1):
        context, pooled = finite(text, encode(text))
        tensors = {"context": context, "pooled": pooled}
        store.save(KIND, text_key(fingerprint, text), tensors, {})
        if on_text is not None:
            on_text(done, len(missing))
    return len(missing)


def finite(text: str, encoding: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The encoding as float32 on the CPU; ValueError naming the caption if it is not finite."""
    context, pooled = encoding
    if not (context.isfinite().all() and pooled.isfinite().all()):
        raise ValueError(
            f"The text encoders gave non-finite numbers for the caption {text[:80]!r}. Either their "
            "weights are damaged: load another checkpoint. Or they overflow in 16 bits: start ComfyUI "
            "with --fp32-text-enc, unless it is on already."
        )
    return context.float().cpu(), pooled.float().cpu()


def stack_contexts(contexts: Sequence[Tensor]) -> Tensor:
    """[T_i, C] of different lengths -> [B, T, C], each repeated to their least common multiple.

    ComfyUI does the same when sampling: cross-attention over a repeated context gives the same
    result, whereas zero padding would not.
    """
    length = math.lcm(*(len(context) for context in contexts))
    return torch.stack([context.repeat(length // len(context), 1) for context in contexts])
