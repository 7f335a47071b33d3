"""kohya's way from a caption's token ids to chunks for SDXL's text encoders, and back.

Source: docs/kohya.md, "Text encoding".

ComfyUI's way, the default, is ComfyUI's own; this is the choice of captions as sd-scripts encode them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

BOS, EOS = 49406, 49407
CHUNK = 77
"""Positions of one pass through a text encoder, begin and end included."""

INNER = CHUNK - 2
ROUND, SQUARE = 1.1, 1 / 1.1
"""What a pair of brackets multiplies the weight of its text by."""

DEEPEST = 32
"""Brackets within brackets that count; those further inside weigh nothing more."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_PIECE = re.compile(
    r"\\(?P<literal>[()\[\]\\])?"  # a backslash alone is dropped
    rf"|(?P<open>[(\[])|:(?P<weight>{_NUMBER})\)|(?P<close>[)\]])|(?P<text>[^\\()\[\]:]+|:)"
)

TokenIds = Callable[[str], list[int]]
"""A tokenizer: text -> ids without begin and end."""


class WeightedIds(NamedTuple):
    """Token ids without begin and end, and the weight of each."""

    ids: list[int]
    weights: list[float]


def kohya_chunks(ids: Sequence[int], length: int, pad: int) -> list[list[int]]:
    """Chunks of 77 ids from ids without begin and end; cut mid-word where 75 are full.

    ``length`` is kohya's max_token_length, a multiple of 75: always ``length // 75`` chunks. ``pad``
    fills up: EOS for the first encoder, 0 for the second, where each chunk also gets an end.
    """
    whole = [BOS, *ids[:length], EOS]
    whole += [pad] * (length + 2 - len(whole))
    if length == INNER:
        return [whole]
    chunks = []
    for start in range(1, length, INNER):
        chunk = [BOS, *whole[start : start + INNER], whole[-1]]
        if pad != EOS:
            if chunk[-2] not in (EOS, pad):
                chunk[-1] = EOS
            if chunk[1] == pad:
                chunk[1] = EOS
        chunks.append(chunk)
    return chunks


def kohya_positions(chunks: int) -> list[int]:
    """Where the sequence for cross-attention comes from, as flat indices into [chunks * 77].

    The first begin, the inner positions of every chunk, the last position of all: 75 n + 2.
    """
    inner = [chunk * CHUNK + place for chunk in range(chunks) for place in range(1, INNER + 1)]
    return [0, *inner, chunks * CHUNK - 1]


def kohya_weights(weights: Sequence[float], length: int) -> list[float]:
    """A weight for each position of ``kohya_positions``; 1 for begin, end and padding."""
    inside = list(weights[:length])
    return [1.0, *inside, *[1.0] * (length - len(inside)), 1.0]


def weighted_ids(text: str, token_ids: TokenIds) -> WeightedIds:
    """The ids of a caption with brackets as weights; its differently weighted parts are tokenised apart."""
    ids: list[int] = []
    weights: list[float] = []
    for part, weight in parse_weights(text):
        found = token_ids(part)
        ids += found
        weights += [weight] * len(found)
    return WeightedIds(ids, weights)


def parse_weights(text: str) -> list[tuple[str, float]]:
    """Parts of a text with their weights: ``(a)`` 1.1, ``[a]`` 1/1.1, ``(a:1.3)``, nested by product.

    A backslash makes the bracket behind it literal; brackets that nothing closes hold to the end.
    Of brackets within brackets ``DEEPEST`` count.
    """
    parts: list[tuple[str, float]] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(starts: list[int], factor: float) -> None:
        start = starts.pop()
        if len(starts) < DEEPEST:
            parts[start:] = [(part, weight * factor) for part, weight in parts[start:]]

    for found in _PIECE.finditer(text):
        kind, piece = found.lastgroup, found[0]
        if kind == "open":
            opened[piece].append(len(parts))
        elif kind == "weight" and opened["("]:
            multiply(opened["("], float(found["weight"]))
        elif kind == "close" and opened["(" if piece == ")" else "["]:
            factor = ROUND if piece == ")" else SQUARE
            multiply(opened["(" if piece == ")" else "["], factor)
        else:
            is_escaped = piece.startswith("\\")
            parts.append((found["literal"] or "" if is_escaped else piece, 1.0))
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        for start in opened[bracket][:DEEPEST]:
            multiply([start], factor)
    return _merged(parts) or [("", 1.0)]


def _merged(parts: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The parts, neighbours of equal weight put together."""
    groups = groupby(parts, key=lambda part: part[1])
    return [("".join(part for part, _ in group), weight) for weight, group in groups]
