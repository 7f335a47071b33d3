"""ComfyUI's CLIP with a word more, whose vectors are trained: how texts are cut, and where it begins.

Nothing of the user's CLIP is changed: the word is known to a copy of its tokenizers, which gives ids behind
those of the vocabulary, and the encoders look these up while the training is attached to them
(`Embedding.around` in trainer/network/embedding.py).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ....trainer.batches.embedding_captions import MARK, token_pattern
from ....trainer.config.embedding import KEYS, EmbeddingConfig
from ....trainer.layers.attach import Replacement
from ....trainer.network.embedding import FIRST_ID
from ....trainer.network.network import Network
from . import memory
from .host_types import Clip


class _Ids:
    """The ids of the word in the form in which ComfyUI's tokenizer takes the vectors of a file."""

    def __init__(self, count: int) -> None:
        self.shape = count, 1

    def __getitem__(self, place: int) -> int:
        return FIRST_ID + place


def with_word(clip: Clip, settings: EmbeddingConfig) -> Clip:
    """A CLIP of the same encoders whose tokenizers know the token, with or without ``embedding:``.

    It stands for as many tokens as it has vectors. A file of that name is not looked at.
    """
    own: Any = copy.copy(clip)
    pair: Any = copy.copy(clip.tokenizer)
    find, ids = token_pattern(settings.token), _Ids(settings.vectors)
    for key in KEYS:
        part = copy.copy(getattr(pair, key))
        part._try_get_embedding = _finding(part, settings.token, ids)
        part.plain_tokenizer = part.tokenizer
        part.tokenizer = _cutting(find, settings.vectors, part.tokenizer)
        part.embedding_directory = part.embedding_directory or []
        setattr(pair, key, part)
    tokenize = pair.tokenize_with_weights
    pair.tokenize_with_weights = lambda text, *more, **options: tokenize(
        find.sub(f" {MARK}{settings.token} ", text), *more, **options
    )
    own.tokenizer = pair
    return own


def _finding(part: Any, token: str, ids: _Ids) -> Callable[[str], Any]:
    """ComfyUI's lookup of an embedding by what stands behind its mark: what was found, and the rest.

    What else it gives differs between versions, so it is asked where there are no files.
    """
    bare = copy.copy(part)
    bare.embedding_directory = []
    other = part._try_get_embedding

    def find(text: str) -> Any:
        if text.split()[:1] == [token]:
            return (ids, *bare._try_get_embedding(text)[1:])
        return other(text)

    return find


def _cutting(
    find: re.Pattern[str], count: int, tokenizer: Callable[[str], Mapping[str, list[int]]]
) -> Callable[[str], Mapping[str, list[int]]]:
    """The tokenizer of an encoder with the word among its own, for chunks that are cut as kohya does it."""

    def cut(text: str) -> Mapping[str, list[int]]:
        first, *rest = (tokenizer(part)["input_ids"] for part in find.split(text))
        begin, *ids, end = first
        for more in rest:
            ids += [*range(FIRST_ID, FIRST_ID + count), *more[1:-1]]
        return {"input_ids": [begin, *ids, end]}

    return cut


def check_word(clip: Clip, settings: EmbeddingConfig) -> None:
    """Raise ValueError where the initial text has no tokens."""
    for key in KEYS:
        _initial_ids(clip, key, settings)


def vector_widths(clip: Clip) -> dict[str, int]:
    """How many numbers a vector of each encoder has, by KEYS."""
    return {key: _table(clip, key).weight.shape[-1] for key in KEYS}


def initial_vectors(clip: Clip, settings: EmbeddingConfig) -> dict[str, Tensor]:
    """What the vectors of each encoder begin as: those of the tokens of the text, by KEYS.

    [vectors, width] float32 on the CPU. A text of fewer tokens is repeated, a longer one is cut, as in
    kohya. Loads the encoders.

    Raises:
        ValueError: the text has no tokens.
    """
    found, device = {}, clip.patcher.load_device
    with torch.inference_mode():
        memory.make_room([clip.patcher], 0)
        for key in KEYS:
            ids = _initial_ids(clip, key, settings)
            wanted = [ids[place % len(ids)] for place in range(settings.vectors)]
            rows = _table(clip, key)(torch.tensor([wanted], device=device), out_dtype=torch.float32)
            found[key] = rows[0].float().cpu()
    return found


def _table(clip: Clip, key: str) -> Any:
    return getattr(clip.cond_stage_model, key).transformer.get_input_embeddings()


def _initial_ids(clip: Clip, key: str, settings: EmbeddingConfig) -> list[int]:
    part: Any = getattr(clip.tokenizer, key)
    tokenizer = getattr(part, "plain_tokenizer", part.tokenizer)  # the word itself is not there yet
    ids = tokenizer(settings.initial_text)["input_ids"][1:-1]
    if not ids:
        raise ValueError(
            f"{settings.title}: initial_text {settings.initial_text!r} has no tokens to begin with. Give a "
            "word for what the images show, such as woman or painting."
        )
    return ids


def word_plan(encoders: Sequence[nn.Module], network: Network) -> Iterator[Replacement]:
    """The tables of both encoders, in which the ids of the word are found."""
    embedding = network.embedding
    if embedding is None:
        return
    for key, encoder in zip(KEYS, encoders, strict=True):
        table: Any = cast(Any, encoder).get_input_embeddings()
        lookup = embedding.around(table.forward, key, lambda: network.strength)
        yield Replacement(f"{key} token_embedding", table, lookup)
