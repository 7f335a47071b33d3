"""SDXL's two tokenizers as ComfyUI holds them, for captions that are cut into chunks as kohya does it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import NamedTuple

from ....trainer.sdxl.token_chunks import EOS, kohya_chunks, kohya_weights, weighted_ids
from .host_types import TokenizerPair

log = logging.getLogger(__name__)

PADDING = {"l": EOS, "g": 0}
"""What fills up a chunk for each of the two text encoders."""


class KohyaTokens(NamedTuple):
    """Chunks of 77 ids for each encoder, and the weight of each position of the joined sequence."""

    chunks: dict[str, list[list[int]]]
    weights: list[float] | None


def kohya_tokens(
    tokenizer: TokenizerPair, caption: str, length: int, weighted: bool = False
) -> KohyaTokens:
    """The caption's chunks by kohya's rules. ``length``: its max_token_length, 75, 150 or 225.

    ``tokenizer`` is ComfyUI's SDXL tokenizer; both of its parts have one vocabulary.
    """

    def token_ids(text: str) -> list[int]:
        return tokenizer.clip_l.tokenizer(_mended(text))["input_ids"][1:-1]

    weights = None
    if weighted:
        ids, each = weighted_ids(caption, token_ids)
        weights = kohya_weights(each, length)
    else:
        ids = token_ids(caption)
    chunks = {name: kohya_chunks(ids, length, pad) for name, pad in PADDING.items()}
    return KohyaTokens(chunks, weights)


def with_unit_weights(chunks: Sequence[Sequence[int]]) -> list[list[tuple[int, float]]]:
    """Chunks in the form that ComfyUI's CLIP encodes."""
    return [[(token, 1.0) for token in chunk] for chunk in chunks]


def mends_letters() -> bool:
    """Whether captions are fixed before kohya's chunking."""
    return _ftfy() is not None


def _mended(text: str) -> str:
    """The text after ftfy, which sd-scripts always has: it widens half-width kana, for one."""
    ftfy = _ftfy()
    return text if ftfy is None else ftfy.fix_text(text)


@cache
def _ftfy() -> ModuleType | None:
    try:
        import ftfy
    except ImportError:
        log.info(
            "LoRA Loop: captions with broken or half-width letters get other tokens than in kohya; "
            "install the package ftfy for the same ones."
        )
        return None
    return ftfy
