"""Replay of ``tokens.json``: token ids, chunks and the joined sequence of every caption.

Needs ComfyUI on `sys.path`: the tokenizers are its own.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..trainer.sdxl.token_chunks import CHUNK, EOS, kohya_positions
from .case import Case, Unsupported
from .kohya_arguments import import_part

_MODE = re.compile(r"(max|weighted)_(None|\d+)")
_WEIGHT_BOUND = 1e-6


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """One case per caption and mode; the error is the number of ids and indices that differ.

    Weights are compared in a case of their own.
    """
    from comfy.sdxl_clip import SDXLTokenizer

    recorded = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
    tokenizer = SDXLTokenizer()
    for place, row in enumerate(recorded["captions"]):
        for mode, expected in row.items():
            if mode != "caption":
                yield from _mode_cases(tokenizer, row["caption"], f"{place} {mode}", mode, expected)


def _mode_cases(
    tokenizer: Any, caption: str, name: str, mode: str, expected: dict[str, Any]
) -> Iterator[Case | Unsupported]:
    from ..nodes.host.model.clip_tokens import kohya_tokens

    found = _MODE.fullmatch(mode)
    if not found:
        yield Unsupported(f"tokens: mode {mode}")
        return
    given = {"weighted_captions": found[1] == "weighted"}
    if found[2] != "None":
        given["max_token_length"] = int(found[2])
    try:
        texts = import_part(given, "tokens").cache.texts
    except Unsupported as missing:
        yield missing
        return
    length = int(texts.chunks.removeprefix("kohya "))
    tokens = kohya_tokens(tokenizer, caption, length, texts.weighted)
    chunks = tokens.chunks["l"]
    positions = kohya_positions(len(chunks))
    made = {
        "ids1": chunks,
        "ids2": tokens.chunks["g"],
        "assembled_index1": positions,
        "assembled_index2": positions,
        "pooled_index": tokens.chunks["g"][0].index(EOS),
    }
    weights = {key: expected[key] for key in ("weights1", "weights2") if key in expected}
    wrong = sum(
        _different(made[key], value) for key, value in expected.items() if key not in weights
    )
    yield Case(f"tokens/{name}", wrong, 0)
    if weights:
        assert tokens.weights is not None
        errors = [_weight_error(tokens.weights, value) for value in weights.values()]
        yield Case(f"tokens/{name} weights", max(errors), _WEIGHT_BOUND)


def _different(ours: Any, theirs: Any) -> int:
    """How many numbers differ; a different shape counts as all."""
    if isinstance(ours, list) != isinstance(theirs, list):
        return 1
    if not isinstance(ours, list):
        return int(ours != theirs)
    if len(ours) != len(theirs):
        return max(len(ours), len(theirs))
    return sum(_different(a, b) for a, b in zip(ours, theirs, strict=True))


def _weight_error(ours: list[float], chunks: list[list[float]]) -> float:
    """kohya's weights by chunk, begin and end of a chunk being 1, against ours of the joined sequence."""
    inner = [weight for chunk in chunks for weight in chunk[1 : CHUNK - 1]]
    theirs = [chunks[0][0], *inner, chunks[-1][-1]]
    if len(ours) != len(theirs):
        return math.inf
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
